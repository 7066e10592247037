#!/usr/bin/env python3
"""Streams synthetic events through standard input into `tidemill learn` with a small net, and shows
its resident memory: it must not grow after the first 1 % of them. Run by hand:

    cargo build --release -p tidemill-cli
    python3 bench/memory.py --events 10000000
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from samples import samples

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = """
[model]
input  = { features = 8 }
layers = [{ dense = { units = 32, activation = "relu" } }, { dense = { units = 32, activation = "relu" } }, { dense = { units = 2 } }]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { sgd = { learning_rate = 0.01 } }
[stream]
format = "csv"
columns = ["a", "b", "c", "d", "e", "f", "g", "h", "y"]
label = "y"
header = false
"""


def block(number):
    """Rows of eight numbers and a class."""
    rows = (",".join(f"{v:.4f}" for v in values) + f",{label}\n" for values, label in samples(number))
    return "".join(rows).encode()


def resident(pid):
    """Bytes that the process holds now."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    p.add_argument("--tidemill", default=str(target / "release/tidemill"), help="the binary")
    p.add_argument("--events", type=int, default=10_000_000)
    p.add_argument("--curve", action="store_true", help="show the memory over time")
    p.add_argument("--memory", default="64MB", help="--memory of the run")
    args = p.parse_args()
    rows, samples = block(10_000), []
    with tempfile.TemporaryDirectory() as folder:
        recipe, run = pathlib.Path(folder) / "recipe.toml", pathlib.Path(folder) / "run"
        recipe.write_text(RECIPE)
        command = [args.tidemill, "learn", recipe, "--from", "-", "--out", run, "--threads", "1"]
        command += ["--memory", args.memory]
        learner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        sent = 0

        def watch():
            while learner.poll() is None:
                try:
                    samples.append((sent, resident(learner.pid)))
                except FileNotFoundError:
                    return
                time.sleep(0.005)

        watching = threading.Thread(target=watch)
        watching.start()
        while sent < args.events:
            learner.stdin.write(rows)
            sent += 10_000
        # The report at the end is not part of the stream.
        streamed = len(samples)
        learner.stdin.close()
        status = learner.wait()
        watching.join()
        if status != 0:
            sys.exit("the learner failed")
        summary = json.loads((run / "summary.json").read_text())
    if args.curve:
        print(*(f"{n:>12,} {rss / 1e6:7.2f}" for n, rss in samples[:: max(1, len(samples) // 40)]), sep="\n")
    first = max(rss for n, rss in samples if n <= args.events / 100)
    most = max(rss for _, rss in samples[:streamed])
    print(f"{summary['events']:,} events, {summary['events_per_second']:,.0f} a second, {len(samples)} samples")
    print(f"after the first 1 %: {first / 1e6:.2f} MB; most while streaming: {most / 1e6:.2f} MB")
    print(f"growth {max(0, most - first) / 1e6:.3f} MB; peak with the report {summary['peak_rss_bytes'] / 1e6:.1f} MB")
    good = most - first < 1e6 and summary["peak_rss_bytes"] < 40e6 and summary["events"] == sent
    print(f"under 1 MB of growth and 40 MB in all: {'yes' if good else 'NO'}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
