"""From the results of online.py to one Markdown table."""

import statistics

from online_jobs import ACCURACY_JOBS, STEP_JOBS, THROUGHPUT_JOBS
from table import grid, micros

# Losses this close count as equal: they depend on the last digits of a learning rate.
EQUAL_LOSS = 1.01


def passed(reached):
    return "-" if reached is None else "pass" if reached else "FAIL"


def percent(share):
    return "-" if share is None else f"{100 * share:.2f} %"


def accuracy_row(job, entry):
    ours, twin = entry.get("tidemill"), entry["twin"]
    reached = None if ours is None else ours >= job.bar and abs(ours - twin) <= job.within
    peers = f"NumPy twin {percent(twin)}; no change {percent(entry['no_change'])}"
    bar = f">= {100 * job.bar:g} %, twin +-{100 * job.within:g}"
    return [f"{job.title}, rate {job.rate:g}", bar, percent(ours), peers, passed(reached)]


def step_row(job, entry):
    times = dict(entry["median"])
    ours = times.pop("Tidemill", None)
    peers = "; ".join(f"{name} {micros(v)}" for name, v in sorted(times.items(), key=lambda item: item[1]))
    reached = passed(None if ours is None else ours <= job.bar)
    if ours and times:
        reached += f"; {min(times.values()) / ours:.1f} x the fastest"
    return [job.title, f"<= {job.bar:g} us", micros(ours), peers, reached]


def speed(per_second):
    return "-" if per_second is None else f"{per_second / 1e6:.3f} M/s" if per_second >= 1e6 else f"{per_second / 1e3:.1f} k/s"


def rival(job, entry):
    """The fastest setting of Vowpal Wabbit whose loss is not above Tidemill's, where that is asked for."""
    losses, speeds = entry["loss"], entry["per_second"]
    names = [name for name in speeds if name != "Tidemill"]
    ours = losses.get("Tidemill")
    if job.equal_loss and ours is not None:
        # Where none is as good, all count: faster than the fastest at a lower loss is more than was asked.
        names = [name for name in names if losses[name] <= ours * EQUAL_LOSS] or names
    return max(names, key=speeds.get, default=None)


def throughput_row(job, entry):
    speeds, losses = entry["per_second"], entry["loss"]
    ours, other = speeds.get("Tidemill"), rival(job, entry)
    bars, reached = [], []
    if job.bar:
        bars.append(f">= {speed(job.bar)}")
        reached.append(None if ours is None else ours >= job.bar)
    if job.vw_bar:
        bars.append(f">= {job.vw_bar:g} x VW{' at equal loss' if job.equal_loss else ''}")
        reached.append(None if ours is None or other is None else ours >= job.vw_bar * speeds[other])
    loss = lambda name: f", loss {losses[name]:.4f}" if losses.get(name) is not None else ""
    shown = sorted((name for name in speeds if name != "Tidemill"), key=speeds.get, reverse=True)
    peers = "; ".join(f"{name} {entry['variant'][name]} {speed(speeds[name])}{loss(name)}" for name in shown)
    verdict = passed(None if None in reached else all(reached))
    if ours and other:
        verdict += f"; {ours / speeds[other]:.2f} x {other}"
    return [job.title, ", ".join(bars), speed(ours) + (loss("Tidemill") if ours else ""), peers, verdict]


def render(results):
    rows, notes = [], list(results["warnings"])
    kinds = ((ACCURACY_JOBS, accuracy_row), (STEP_JOBS, step_row), (THROUGHPUT_JOBS, throughput_row))
    for job, row in ((job, row) for jobs, row in kinds for job in jobs):
        entry = results["jobs"].get(job.name)
        if not entry:
            continue
        if entry["kind"] == "failed":
            rows.append([job.title, "", "-", "", "not run"])
        else:
            rows.append(row(job, entry))
        notes += [f"{job.name}: {name} left out: {error}" for name, error in entry.get("errors", {}).items()]
        start = entry.get("process_seconds", 0) - entry.get("median", {}).get("Tidemill", 0)
        if start > 0.25:
            notes.append(f"{job.name}: Tidemill's process took {start:.2f} s beside the stream")
        shares = entry.get("foreign")
        if shares and statistics.median(shares) > 0.03:
            notes.append(f"{job.name}: others took {statistics.median(shares):.0%} of the machine")
    text = grid(["job", "bar", "Tidemill", "peers", "verdict"], rows)
    lines = [f"- {line.splitlines()[0]}" for line in notes]
    return "\n".join([results.get("machine", ""), "", text, "", *lines]).strip()
