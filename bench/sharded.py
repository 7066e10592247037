#!/usr/bin/env python3
"""The memory of each worker, and the time of a step, where all keep the whole state of Adam and where each keeps a part.

    cargo build --release -p tidemill-cli
    python3 bench/sharded.py [--layers 24] [--units 1024] [--workers 1,2,4] [--steps 6] [--rounds 3]

Workers are processes with one thread each that are joined over TCP on this machine. The memory is the peak of each process
(VmHWM). The fingerprints of all states must be equal. Rounds take turns, and the median step counts.
"""

import argparse
import json
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import machine
import offload

ROOT = pathlib.Path(__file__).resolve().parent.parent


def peak(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", text)
    return int(found[1]) * 1024 if found else 0


def run(program, folder, kind, workers, steps):
    """The summary, the seconds of a step, and the peaks of the processes, the first one's first."""
    out = folder / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = [program, "train", str(folder / "recipe.toml"), "--out", str(out), "--force", "--threads", "1"]
    common += ["--set", "training.shards=8", "--set", f"stop.steps={steps}"]
    common += ["--set", f'training.optimizer_state="{kind}"', "--set", "log.every_steps=1"]
    if workers > 1:
        common += ["--workers", str(workers), "--listen", f"127.0.0.1:{port}"]
    started = [subprocess.Popen(common, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)]
    for _ in range(workers - 1):
        join = [program, "work", "--join", f"127.0.0.1:{port}", "--threads", "1"]
        started.append(subprocess.Popen(join, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    peaks = [0] * workers
    said = [b""] * workers
    reading = [threading.Thread(target=lambda i=i: said.__setitem__(i, started[i].stderr.read())) for i in range(workers)]
    for thread in reading:
        thread.start()
    while any(process.poll() is None for process in started):
        peaks = [max(old, peak(process.pid)) for old, process in zip(peaks, started)]
        time.sleep(0.01)
    for thread in reading:
        thread.join()
    if any(process.returncode for process in started):
        raise SystemExit(b"\n".join(said).decode())
    summary = json.loads((out / "summary.json").read_text())
    seconds = [json.loads(line)["wall_seconds"] for line in (out / "steps.jsonl").read_text().splitlines()]
    took = statistics.median(b - a for a, b in zip(seconds[1:], seconds[2:]))
    return summary, took, peaks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "target/release/tidemill"))
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine.describe({}))
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        offload.rows(folder / "rows.csv")
        sizes = {"layers": options.layers, "units": options.units, "inputs": offload.INPUTS, "steps": options.steps}
        (folder / "recipe.toml").write_text(offload.RECIPE.format(**sizes))
        parameters = options.layers * options.units**2
        print(f"{parameters / 1e6:.1f} M parameters: weights {parameters * 4 / 1e6:.0f} MB, Adam's slots twice that\n")
        ways = [(kind, int(n)) for n in options.workers.split(",") for kind in ["replicated", "sharded"]]
        ways = [way for way in ways if way != ("sharded", 1)]
        found = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way in ways:
                found[way].append(run(options.program, folder, *way, options.steps))
        states = {summary["state_sha256"] for results in found.values() for summary, _, _ in results}
        print("workers  slots        step s   peak of the first, of the others (MB)")
        for (kind, workers), results in found.items():
            took = statistics.median(seconds for _, seconds, _ in results)
            peaks = [max(values) / 1e6 for values in zip(*(peaks for _, _, peaks in results))]
            print(f"{workers:7}  {kind:11}  {took:6.3f}   {' '.join(f'{p:.0f}' for p in peaks)}")
        print("all states are equal" if len(states) == 1 else f"STATES DIFFER: {states}")


if __name__ == "__main__":
    main()
