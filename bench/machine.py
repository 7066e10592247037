"""What the numbers were taken on, and how quiet it was."""

import os
import platform


def cpu_model():
    fields = {}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    features = [f for f in ("avx2", "avx512f") if f in fields.get("flags", "").split()]
    family = f" family {fields['cpu family']} model {fields['model']}" if "cpu family" in fields else ""
    return f"{fields.get('model name', platform.machine())}{family} ({', '.join(features)})"


def describe(versions):
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release().split('-')[0]}; {listed}"


def load():
    return os.getloadavg()[0]


def jiffies():
    """Busy ticks of the whole machine (stolen time among them) and ticks in all."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(f) for f in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def group_ticks():
    """Ticks of this process, its children and theirs, ended or not."""
    parents, ticks = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
            ticks[int(name)] = sum(int(f) for f in fields[11:15])
    ours, grown = {os.getpid()}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return sum(ticks[pid] for pid in ours)


class Watch:
    """Measures the share of the machine that others took during a `with` block."""

    def __enter__(self):
        self.start, self.own = jiffies(), group_ticks()
        return self

    def __exit__(self, *_):
        busy, total = (after - before for after, before in zip(jiffies(), self.start))
        self.foreign = max(0.0, busy - (group_ticks() - self.own)) / max(total, 1)
