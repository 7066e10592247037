#!/usr/bin/env python3
"""Measures the training step of nanoGPT's models of characters, and attention alone, next to PyTorch. See README.md.

    cargo build --release && cargo build --release -p tidemill-cpu --example attention
    /path/to/venv/bin/python bench/text.py
"""

import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402
from compare import MAX_LOAD, disturbed, measure_steps, note, save  # noqa: E402
from jobs import Job  # noqa: E402
from programs import PEERS, ROOT, Peer, Tidemill, environment  # noqa: E402

JOBS = [
    Job("small", "4 blocks of 128, T 64, batch 12", "small", "adamw", 12, "shakespeare-small", 1.7),
    Job("large", "6 blocks of 384, T 256, batch 4", "large", "adamw", 4, "shakespeare --set model.decoder_only.dropout=0.0", 1.25),
]


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary")
    p.add_argument("--attention", default=str(ROOT / "target/release/examples/attention"), help="the example's binary")
    p.add_argument("--jobs", type=lambda s: s.split(","), help="small, large, attention; with commas")
    p.add_argument("--peers", type=lambda s: s.split(","), default=["eager", "compile"], help="eager, compile; with commas")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    p.add_argument("--probe-seconds", type=float, default=1.0, help="of each of 3 probes of a variant")
    p.add_argument("--force", action="store_true", help="measure although the machine is busy")
    p.add_argument("--json", default=str(HERE / "text-results.json"), help="where the full results go")
    return p.parse_args()


def steps(o, jobs, log, results):
    programs = [Tidemill(o.tidemill, log)]
    try:
        programs += [Peer(f"PyTorch {kind}", ["text_peer.py", kind], False, log) for kind in o.peers]
        for program in programs:
            results["versions"] |= program.versions
        for job in jobs:
            entry = measure_steps(programs, job, o.rounds, o.seconds, o.probe_seconds)
            results["jobs"][job.name] = entry
            peers = {name: value for name, value in entry["best"].items() if name != "Tidemill"}
            if peers and "Tidemill" in entry["best"]:
                name = min(peers, key=peers.get)
                for kind in ("median", "best"):
                    ours, theirs = entry[kind]["Tidemill"] / 1e3, entry[kind][name] / 1e3
                    ratio = f"{theirs / ours:.2f} times as fast (bar {job.bar})"
                    print(f"{job.title}, {kind}: Tidemill {ours:.1f} ms, {name} ({entry['variant'][name]}) {theirs:.1f} ms: {ratio}")
            save(o.json, results)
    finally:
        for program in programs:
            program.close()


def attention(o, log):
    """Both programs in turn, the least CPU time of all rounds."""
    commands = {"Tidemill": [o.attention, "--json"], "PyTorch": [sys.executable, str(PEERS / "text_peer.py"), "attention"]}
    best = {}
    for _ in range(o.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=log, check=True)
            for line in map(json.loads, done.stdout.splitlines()):
                shape = tuple(line[key] for key in ("batch", "heads", "time", "dim", "causal"))
                entry = best.setdefault(shape, {"peak_gflops": 0.0})
                entry["peak_gflops"] = max(entry["peak_gflops"], line.get("peak_gflops", 0.0))
                for part in ("forward_us", "backward_us"):
                    entry[f"{name} {part}"] = min(line[part], entry.get(f"{name} {part}", line[part]))
    peak = max(entry["peak_gflops"] for entry in best.values())
    for (batch, heads, time_steps, dim, causal), entry in best.items():
        pairs = time_steps * (time_steps + 1) / 2 if causal else time_steps**2
        parts = []
        for part, products in (("forward_us", 2), ("backward_us", 5)):
            ours, theirs = entry[f"Tidemill {part}"], entry[f"PyTorch {part}"]
            rate = products * 2 * batch * heads * dim * pairs / ours / 1e3
            parts.append(f"{part[:-3]} {ours:.0f} us, {rate / peak:.0%} of {peak:.0f} GFLOP/s, {theirs / ours:.2f} times PyTorch's speed")
        print(f"attention {batch} x {heads} heads, T {time_steps}, {dim} values{', causal' if causal else ''}: {'; '.join(parts)}")
    return [dict(zip(("batch", "heads", "time", "dim", "causal"), shape)) | entry for shape, entry in best.items()]


def main():
    o = options()
    results = {"jobs": {}, "versions": {}, "warnings": []}
    if machine.load() > MAX_LOAD:
        text = f"load was {machine.load():.2f} before the start, more than {MAX_LOAD}"
        if not o.force:
            raise SystemExit(f"{text}; wait until the machine is quiet, or --force for numbers that mean little")
        results["warnings"].append(f"{text}; these numbers mean little")
        note("WARNING: " + results["warnings"][-1])
    wanted = lambda name: not o.jobs or name in o.jobs
    with open(HERE / "peers.log", "w", encoding="utf-8") as log:
        if jobs := [job for job in JOBS if wanted(job.name)]:
            steps(o, jobs, log, results)
        if wanted("attention"):
            results["attention"] = attention(o, log)
    results["machine"] = machine.describe(results["versions"])
    results["warnings"] += disturbed(results)
    for warning in results["warnings"]:
        print(f"WARNING: {warning}")
    print(results["machine"])
    save(o.json, results)


if __name__ == "__main__":
    main()
