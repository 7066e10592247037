#!/usr/bin/env python3
"""Measures Tidemill and its peers side by side, in one run, in interleaved rounds. See README.md.

    /path/to/venv/bin/python bench/compare.py --write-docs
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402
import table  # noqa: E402
from jobs import RECIPES, STEP_JOBS  # noqa: E402
from programs import ROOT, Tidemill, run_whole, start_peers, whole_jobs  # noqa: E402

# Above this the machine is not quiet: two cores leave no room for anything else.
MAX_LOAD = 0.3
MAX_FOREIGN = 0.03


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary")
    p.add_argument("--peers-only", action="store_true", help="measure without Tidemill")
    p.add_argument("--peers", type=lambda s: s.split(","), help="only these step peers, by name, with commas")
    p.add_argument("--jobs", type=lambda s: s.split(","), help="only these jobs, by name, with commas; `whole` is one")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    p.add_argument("--probe-seconds", type=float, default=0.7, help="of each of 3 probes of a variant")
    p.add_argument("--force", action="store_true", help="measure although the machine is busy")
    p.add_argument("--write-docs", action="store_true", help="replace the tables in docs/speed.md")
    p.add_argument("--json", default=str(HERE / "results.json"), help="where the full results go")
    return p.parse_args()


def note(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def rotate(items, by):
    by %= max(len(items), 1)
    return items[by:] + items[:by]


def measure_steps(programs, job, rounds, seconds, probe_seconds):
    """Prepares a job everywhere, then measures it in turn; every round starts with another program."""
    ready, entry = [], {"variant": {}, "tried": {}, "rounds": {}, "loss": {}, "foreign": {}, "errors": {}}
    for program in programs:
        try:
            prepared = program.prepare(job, probe_seconds)
        except (RuntimeError, OSError, StopIteration, ValueError) as error:
            note(f"{job.name}: {program.name} left out: {error}")
            entry["errors"][program.name] = str(error)
            continue
        ready.append(program)
        entry["variant"][program.name] = prepared["variant"]
        entry["tried"][program.name] = prepared.get("tried", {})
        note(f"{job.name}: {program.name} uses `{prepared['variant']}`")
    for round_number in range(rounds):
        for program in rotate(ready, round_number):
            with machine.Watch() as watch:
                sample = program.measure(job, seconds)
            entry["rounds"].setdefault(program.name, []).append(sample["microseconds_per_step"])
            entry["foreign"].setdefault(program.name, []).append(round(watch.foreign, 4))
            entry["loss"][program.name] = sample.get("loss")
            if sample.get("floor_microseconds"):
                entry["floor"] = sample["floor_microseconds"]
    entry["median"] = {name: statistics.median(values) for name, values in entry["rounds"].items()}
    entry["best"] = {name: min(values) for name, values in entry["rounds"].items()}
    note(f"{job.name}: " + ", ".join(f"{n} {table.micros(v)}" for n, v in entry["median"].items()))
    return entry


def measure_whole(commands, rounds, log):
    entry = {"rounds": {}, "peak_rss_mb": {}, "accuracy": {}, "cpu_seconds": {}, "foreign": {}, "errors": {}}
    for round_number in range(-1, rounds):
        # Round -1 fills the page cache and the peers' compile caches; it does not count.
        for name, command in rotate(list(commands.items()), max(round_number, 0)):
            if name in entry["errors"]:
                continue
            try:
                with machine.Watch() as watch:
                    result = run_whole(command, log)
            except (RuntimeError, OSError) as error:
                note(f"whole job: {name} left out: {error}")
                entry["errors"][name] = str(error)
                continue
            if round_number < 0:
                continue
            entry["rounds"].setdefault(name, []).append(result["seconds"])
            entry["foreign"].setdefault(name, []).append(round(watch.foreign, 4))
            entry["peak_rss_mb"][name] = max(result["peak_rss_mb"], entry["peak_rss_mb"].get(name, 0))
            entry["accuracy"][name], entry["cpu_seconds"][name] = result["accuracy"], result["cpu_seconds"]
    entry["median"] = {name: statistics.median(values) for name, values in entry["rounds"].items()}
    entry["best"] = {name: min(values) for name, values in entry["rounds"].items()}
    note("whole job: " + ", ".join(f"{n} {v:.2f} s" for n, v in entry["median"].items()))
    return entry


def disturbed(results):
    """Names measurements whose median round shared the machine with others."""
    out = []
    entries = {**results["jobs"], **({"whole": results["whole"]} if results.get("whole") else {})}
    for job, entry in entries.items():
        shares = [share for values in entry["foreign"].values() for share in values]
        if shares and statistics.median(shares) > MAX_FOREIGN:
            out.append(f"{job}: others took {statistics.median(shares):.0%} of the machine")
    return out


def main():
    o = options()
    warnings = []
    if machine.load() > MAX_LOAD:
        text = f"load was {machine.load():.2f} before the start, more than {MAX_LOAD}"
        if not o.force:
            raise SystemExit(f"{text}; wait until the machine is quiet, or --force for numbers that mean little")
        warnings.append(f"{text}; these numbers mean little")
        note("WARNING: " + warnings[-1])
    has_tidemill = not o.peers_only
    if has_tidemill and not pathlib.Path(o.tidemill).exists():
        raise SystemExit(f"{o.tidemill} is missing; `cargo build --release`, or --peers-only")
    log = open(HERE / "peers.log", "w", encoding="utf-8")
    wanted = lambda name: not o.jobs or name in o.jobs
    results = {"jobs": {}, "warnings": warnings, "rounds": o.rounds, "seconds": o.seconds, "versions": {}}
    step_jobs = [job for job in STEP_JOBS if wanted(job.name)]
    programs = []
    try:
        if has_tidemill:
            programs.append(Tidemill(o.tidemill, log))
        programs += start_peers(o.peers, log) if step_jobs else []
        for program in programs:
            results["versions"] |= program.versions
        results["programs"] = [p.name for p in programs]
        results["many_steps"] = [p.name for p in programs if p.many_steps]
        for job in step_jobs:
            results["jobs"][job.name] = measure_steps(programs, job, o.rounds, o.seconds, o.probe_seconds)
            save(o.json, results)
    finally:
        for program in programs:
            program.close()
    if wanted("whole"):
        commands = whole_jobs(o.tidemill if has_tidemill else None, RECIPES["whole"])
        results["whole"] = measure_whole(commands, min(o.rounds, 3), log)
    results["machine"] = machine.describe(results["versions"])
    warnings += disturbed(results)
    save(o.json, results)
    text = table.render(results)
    print(text)
    if o.write_docs:
        table.write_between_marks(ROOT / "docs" / "speed.md", text)


def save(path, results):
    pathlib.Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
