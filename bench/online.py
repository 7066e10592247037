#!/usr/bin/env python3
"""Measures online learning beside its peers, in one run, in interleaved rounds. See README.md.

    /path/to/venv/bin/python bench/online.py [--jobs step-8,csv] [--deep-river FOLDER]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402
import online_table  # noqa: E402
import streams  # noqa: E402
from online_jobs import ACCURACY_JOBS, SEED, STEP_JOBS, THROUGHPUT_JOBS, VW_RATES, VW_SETTINGS  # noqa: E402
from programs import PEERS, ROOT, Peer, environment  # noqa: E402

MAX_LOAD = 0.3
PEER_KINDS = {"PyTorch": "pytorch", "JAX": "jax", "NumPy": "numpy", "deep-river": "deep-river", "River LR": "river"}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary; examples lie beside it")
    p.add_argument("--peers-only", action="store_true", help="measure without Tidemill")
    p.add_argument("--jobs", type=lambda s: s.split(","), help="only these, by name, with commas")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of one measurement of a library call")
    p.add_argument("--deep-river", help="a folder with deep-river and the older River that it needs")
    p.add_argument("--streams", help="a folder to keep the converted streams in; otherwise a temporary one")
    p.add_argument("--force", action="store_true", help="measure although the machine is busy")
    p.add_argument("--json", default=str(HERE / "online-results.json"), help="where the full results go")
    return p.parse_args()


def note(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def rotate(items, by):
    by %= max(len(items), 1)
    return items[by:] + items[:by]


class Tidemill:
    """Runs commands of online_jobs.py and reads the last line of JSON that they print."""

    def __init__(self, binary, streams_folder, log):
        data = environment()["TIDEMILL_DATA"]
        places = {"TIDEMILL": binary, "EXAMPLES": pathlib.Path(binary).parent / "examples"}
        self.places = {**places, "STREAMS": streams_folder, "DATA": data}
        self.log = log

    def run(self, command, stdin=None):
        with tempfile.TemporaryDirectory() as folder:
            places = {**self.places, "OUT": os.path.join(folder, "run")}
            filled = [self.fill(part, places) for part in command]
            source = open(stdin, "rb") if stdin else subprocess.DEVNULL
            begin = time.perf_counter()
            try:
                done = subprocess.run(
                    filled, cwd=ROOT, env=environment(), text=True, stdin=source,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
            finally:
                if stdin:
                    source.close()
            seconds = time.perf_counter() - begin
        self.log.write(done.stderr)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"{' '.join(filled)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(lines[-1]) | {"process_seconds": seconds}

    @staticmethod
    def fill(part, places):
        head, _, rest = str(part).partition("/")
        return f"{places[head]}{'/' + rest if rest else ''}" if head in places else str(part)


def accuracy_job(job, tidemill, log):
    """The twin once, and Tidemill with the same start weights."""
    command = [sys.executable, str(HERE / "online_twin.py"), "--models", job.model, "--rates", str(job.rate)]
    command += ["--seeds", str(SEED), "--json"]
    done = subprocess.run(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=log, check=True)
    twin = json.loads(done.stdout)
    entry = {"kind": "accuracy", "twin": twin["results"][0]["accuracy"], "no_change": twin["no_change"]}
    if tidemill:
        result = tidemill.run(job.tidemill)
        entry |= {"tidemill": result["prequential"]["accuracy"], "summary": result}
    return entry


def step_job(job, peers, tidemill, o):
    entry = {"kind": "step", "variant": {}, "tried": {}, "rounds": {}, "errors": {}, "foreign": []}
    ready = {}
    for name in job.peers:
        if name not in peers:
            continue
        try:
            prepared = peers[name].prepare(job, o.seconds / 3)
        except (RuntimeError, OSError) as error:
            entry["errors"][name] = str(error)
            continue
        entry["variant"][name], entry["tried"][name] = prepared["variant"], prepared["tried"]
        ready[name] = lambda p=peers[name]: p.measure(job, o.seconds)["microseconds_per_step"]
    if tidemill:
        ready["Tidemill"] = lambda: tidemill.run(job.tidemill)["microseconds"]
    interleaved(entry, ready, o.rounds)
    return entry


def throughput_job(job, tidemill, o, folder):
    """Rounds of seconds and the losses; Vowpal Wabbit's settings are tuned first, for the least loss of each."""
    entry = {"kind": "throughput", "rounds": {}, "errors": {}, "foreign": [], "loss": {}, "events": {}, "variant": {}}
    ready = {}

    def vw(arguments):
        command = [sys.executable, str(PEERS / "vw_run.py"), str(streams.make(folder, job.vw)), *arguments]
        done = subprocess.run(command, env=environment(), text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-300:])
        return json.loads(done.stdout)

    def timed(name, run):
        result = run()
        entry["loss"][name], entry["events"][name] = result["loss"], result["events"]
        return result["seconds"]

    def ours():
        if job.stdin:
            result = tidemill.run(job.tidemill, stdin=streams.make(folder, job.stream))
        else:
            result = tidemill.run(job.tidemill)
        entry["process_seconds"] = result["process_seconds"]
        loss = result["prequential"].get("log_loss")
        return {"loss": loss, "events": result["events"], "seconds": result["wall_seconds"]}

    for setting in VW_SETTINGS if job.vw else []:
        name = f"VW {setting or 'default'}"
        losses = {rate: vw([*setting.split(), "-l", str(rate)])["loss"] for rate in VW_RATES}
        best = min(losses, key=losses.get)
        entry["variant"][name] = f"-l {best}"
        ready[name] = lambda n=name, a=[*setting.split(), "-l", str(best)]: timed(n, lambda: vw(a))
    if tidemill:
        streams.make(folder, job.stream)
        ready["Tidemill"] = lambda: timed("Tidemill", ours)
    interleaved(entry, ready, o.rounds)
    entry["per_second"] = {name: entry["events"][name] / seconds for name, seconds in entry["median"].items()}
    return entry


def interleaved(entry, ready, rounds):
    """Every round starts with another program; one that fails is left out from there on."""
    for round_number in range(rounds):
        for name, measure in rotate(list(ready.items()), round_number):
            if name in entry["errors"]:
                continue
            try:
                with machine.Watch() as watch:
                    value = measure()
            except (RuntimeError, OSError, KeyError, ValueError) as error:
                note(f"{name} left out: {error}")
                entry["errors"][name] = f"{type(error).__name__}: {error}"
                continue
            entry["rounds"].setdefault(name, []).append(value)
            entry["foreign"].append(round(watch.foreign, 4))
    measured = {name: values for name, values in entry["rounds"].items() if name not in entry["errors"]}
    entry["median"] = {name: statistics.median(values) for name, values in measured.items()}


def start(names, o, log):
    peers = {}
    for name in names:
        variables = {}
        if name == "deep-river":
            if not o.deep_river:
                note("deep-river left out: no --deep-river FOLDER")
                continue
            variables = {"PYTHONPATH": str(pathlib.Path(o.deep_river).resolve())}
        try:
            peers[name] = Peer(name, ["online_peer.py", PEER_KINDS[name]], False, log, variables)
        except RuntimeError as error:
            note(f"{name} left out: {error}")
    return peers


def measure_all(o, results, folder, log):
    wanted = lambda job: not o.jobs or job.name in o.jobs
    tidemill = None if o.peers_only else Tidemill(o.tidemill, folder, log)
    step_jobs = list(filter(wanted, STEP_JOBS))
    names = dict.fromkeys(name for job in step_jobs for name in job.peers)
    peers = start(names, o, log)
    try:
        for peer in peers.values():
            results["versions"] |= peer.versions
        runs = [(job, lambda j=job: accuracy_job(j, tidemill, log)) for job in filter(wanted, ACCURACY_JOBS)]
        runs += [(job, lambda j=job: step_job(j, peers, tidemill, o)) for job in step_jobs]
        runs += [(job, lambda j=job: throughput_job(j, tidemill, o, folder)) for job in filter(wanted, THROUGHPUT_JOBS)]
        for job, run in runs:
            note(job.title)
            try:
                results["jobs"][job.name] = run()
            except (RuntimeError, OSError, KeyError, subprocess.CalledProcessError) as error:
                note(f"{job.name} failed: {error}")
                results["jobs"][job.name] = {"kind": "failed", "errors": {"Tidemill": str(error)}}
            pathlib.Path(o.json).write_text(json.dumps(results, indent=1) + "\n", encoding="ascii")
    finally:
        for peer in peers.values():
            peer.close()


def main():
    o = options()
    results = {"jobs": {}, "warnings": [], "rounds": o.rounds, "versions": {}}
    if machine.load() > MAX_LOAD:
        text = f"load was {machine.load():.2f} before the start, more than {MAX_LOAD}"
        if not o.force:
            raise SystemExit(f"{text}; wait until the machine is quiet, or --force for numbers that mean little")
        results["warnings"].append(f"{text}; these numbers mean little")
    if not o.peers_only and not pathlib.Path(o.tidemill).exists():
        raise SystemExit(f"{o.tidemill} is missing; `cargo build --release --examples`, or --peers-only")
    with open(HERE / "peers.log", "w", encoding="utf-8") as log, tempfile.TemporaryDirectory() as temporary:
        measure_all(o, results, pathlib.Path(o.streams or temporary), log)
    results["machine"] = machine.describe(results["versions"])
    pathlib.Path(o.json).write_text(json.dumps(results, indent=1) + "\n", encoding="ascii")
    print(online_table.render(results))


if __name__ == "__main__":
    main()
