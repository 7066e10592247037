#!/usr/bin/env python3
"""Trains a model whose optimizer state is several times the memory that it is given, and compares the time of a step with
what the disk needs for the bytes of a step.

    cargo build --release -p tidemill-cli
    python3 bench/offload.py [--layers 48] [--units 1024] [--memory 100] [--rounds 3]

The rate of the disk is measured right before and after, by two threads that read and write blocks of a layer's size without
the system's cache, as much as a step does. With root and version 1 of control groups, the run is in a group whose
limit is the budget: the kernel would kill it if it took more. The state's fingerprint must be that of a run without a limit.
"""

import argparse
import ctypes
import json
import mmap
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import threading
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = """
[model]
input  = {{ features = {inputs} }}
layers = [
  {{ repeat = {{ times = {layers}, layers = [{{ dense = {{ units = {units}, activation = "relu" }} }}] }} }},
  {{ dense = {{ units = 4 }} }},
]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ adam = {{ learning_rate = 1e-4 }} }}
[batch]
data       = {{ csv = {{ path = "rows.csv", label = "label" }} }}
batch_size = 32
epochs     = 1000
[stop]
steps = {steps}
[checkpoint]
every_epochs = 100000
[report]
html = false
"""
INPUTS = 16


def rows(path):
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(f"x{i}" for i in range(INPUTS)) + ",label\n")
        for _ in range(64):
            file.write(",".join(f"{draw.gauss(0, 1):.4f}" for _ in range(INPUTS)) + f",{draw.choice('abcd')}\n")


HUGE = 2 << 20


def pages(block):
    """Memory of this size on huge pages, as the program's."""
    whole = mmap.mmap(-1, block + 2 * HUGE)
    whole.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(whole)) % HUGE
    memory = memoryview(whole)[start : start + block]
    memory[:] = bytes(block)
    return memory


def disk(folder, reads, writes, block):
    """Seconds for so many bytes read and written, both at once."""
    path = os.path.join(folder, "disk")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    behind = reads // block * block
    memory = [pages(block) for _ in range(2)]
    for at in range(0, reads + writes, block):
        os.pwritev(file, [memory[0]], at)

    def move(call, memory, start, total):
        for i in range(total // block):
            call(file, [memory], start + i * block)

    threads = [threading.Thread(target=move, args=(os.preadv, memory[0], 0, reads)),
               threading.Thread(target=move, args=(os.pwritev, memory[1], behind, writes))]
    start = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.perf_counter() - start
    os.close(file)
    os.unlink(path)
    return seconds


def group(limit):
    """A function that puts the process that calls it into a control group with the limit; none without the rights."""
    folder = pathlib.Path("/sys/fs/cgroup/memory/tidemill-offload")
    try:
        folder.mkdir(exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        return None, None
    return folder, lambda: (folder / "cgroup.procs").write_text(str(os.getpid()))


def train(binary, folder, name, steps, args, memory=None, enter=None):
    """Seconds of the run's steps, what it printed, and its summary."""
    recipe = os.path.join(folder, "recipe.toml")
    text = RECIPE.format(inputs=INPUTS, layers=args.layers, units=args.units, steps=steps)
    pathlib.Path(recipe).write_text(text, encoding="utf-8")
    command = [binary, "train", recipe, "--out", os.path.join(folder, name), "--force"]
    command += ["--memory", f"{memory}B"] if memory else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, preexec_fn=enter)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    summary = json.loads(pathlib.Path(folder, name, "summary.json").read_text(encoding="utf-8"))
    return summary["wall_seconds"], done.stdout + done.stderr, summary


def size(text):
    number, unit = re.fullmatch(r"([\d.,]+) (KB|MB|GB)", text).groups()
    return int(float(number.replace(",", "")) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    p.add_argument("--tidemill", default=str(target / "release/tidemill"), help="the binary")
    p.add_argument("--layers", type=int, default=48)
    p.add_argument("--units", type=int, default=1024)
    p.add_argument("--memory", type=float, default=100, help="MB that the run is given")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--folder", default=str(target), help="where the run and the state's file are")
    args = p.parse_args()
    print(machine.describe({}))
    parameters = args.layers * args.units**2
    memory = int(args.memory * 1e6)
    few, many = 2, 22
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows(os.path.join(folder, "rows.csv"))
        limits, enter = group(memory)
        table = []
        for turn in range(args.rounds):
            short, _, _ = train(args.tidemill, folder, "run", few, args, memory, enter)
            long, printed, summary = train(args.tidemill, folder, "run", many, args, memory, enter)
            found = re.search(r"([\d.,]+ .B) of weights and slots are in a file, of which a step reads ([\d.,]+ .B) and writes ([\d.,]+ .B)", printed)
            if not found:
                raise SystemExit(f"no state is in a file:\n{printed}")
            filed, read, written = (size(text) for text in found.groups())
            step = (long - short) / (many - few)
            needs = disk(folder, read, written, args.units**2 * 4)
            table.append((step, needs, summary))
            print(f"round {turn + 1}: a step {step:.3f} s, the disk alone {needs:.3f} s: {step / needs:.2f} x; "
                  f"peak {summary['peak_rss_bytes'] / 1e6:.1f} MB", flush=True)
        if limits:
            kills = (limits / "memory.oom_control").read_text().split()
            print(f"control group of {memory / 1e6:.0f} MB: {kills[kills.index('oom_kill') + 1]} kills")
            limits.rmdir()
        short, _, _ = train(args.tidemill, folder, "usual", few, args)
        whole, _, usual = train(args.tidemill, folder, "usual", many, args)
        same = "equal" if usual["state_sha256"] == summary["state_sha256"] else "DIFFERENT"
        print(f"{parameters / 1e6:.1f} M parameters, Adam's state (its two moments) {parameters * 8 / 1e6:.0f} MB, {parameters * 8 / memory:.1f} x the "
              f"budget of {memory / 1e6:.0f} MB; in the file {filed / 1e6:.0f} MB; a step reads {read / 1e6:.0f} MB and writes {written / 1e6:.0f} MB")
        print(f"median {statistics.median(step / needs for step, needs, _ in table):.2f} x of the disk's time; "
              f"largest peak {max(s['peak_rss_bytes'] for *_, s in table) / 1e6:.1f} MB")
        print(f"all in memory: {usual['peak_rss_bytes'] / 1e6:.0f} MB, a step {(whole - short) / (many - few):.3f} s; state_sha256 {same}")


if __name__ == "__main__":
    main()
