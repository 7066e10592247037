#!/usr/bin/env python3
"""The one default for streams, recipes/stream.toml, beside River's forest and linear models at their defaults.

    python bench/default.py STREAMS [--streams elec2,sea] [--forest] [--linear] [--ablation]

STREAMS is a folder for the streams of bench/default_streams.py, or of bench/further_streams.py if --streams names them.
Every event is predicted, then learned from, by all programs, which run one after the other; ours from several seeds of its
weights, of which the means count. River's forest takes minutes for each stream; what River found is kept in STREAMS and
taken from there unless --forest or --linear says to measure it again. --ablation runs the same recipe with other
optimizers, each at the rates of a grid.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from default_streams import REGRESSION, STREAMS, make  # noqa: E402

# The default was tuned on these; the others were left alone until it stood.
TUNED = ["elec2", "sms", "airlines", "adult", "covertype", "bikes", "hyperplane", "rbf", "stagger"]
# Accuracy that the issue asks for beside River's better model.
LEAST = {"elec2": 91.0, "sea": 88.5, "weather": 79.0}
WORDS = {"sms": "text"}
BUCKETS = 1 << 14
LINEAR = {
    "class": ["LogisticRegression", "LogisticRegression AdaGrad", "SoftmaxRegression", "ALMA", "PA", "Perceptron"],
    "text": ["LogisticRegression", "LogisticRegression AdaGrad", "ALMA", "PA", "Perceptron"],
    "value": ["LinearRegression", "LinearRegression plain", "PARegressor", "BayesianLinearRegression"],
}
GRID = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
FINE = [0.0003, 0.001, 0.003, 0.01, 0.03]
# Name -> (optimizer, rates).
ABLATION = {
    "SGD": (lambda r: f"{{ sgd = {{ learning_rate = {r} }} }}", GRID),
    "momentum 0.9": (lambda r: f"{{ sgd = {{ learning_rate = {r}, momentum = 0.9 }} }}", [0.0003, 0.001, 0.003, 0.01, 0.03]),
    "Adagrad": (lambda r: f"{{ adagrad = {{ learning_rate = {r} }} }}", GRID),
    "Adam": (lambda r: f"{{ adam = {{ learning_rate = {r} }} }}", FINE),
    "RMSprop 0.9": (lambda r: f"{{ rmsprop = {{ learning_rate = {r} }} }}", FINE),
    "Lion": (lambda r: f"{{ lion = {{ learning_rate = {r} }} }}", [0.00003, 0.0001, 0.0003, 0.001, 0.003]),
    "FTRL": (lambda r: f"{{ ftrl = {{ learning_rate = {r} }} }}", GRID),
    "the default's": (
        lambda r: f"{{ rmsprop = {{ learning_rate = {r}, rho = 0.999, bias_correction = true, lazy = true }} }}",
        [0.0005, 0.001, 0.0025, 0.005, 0.01],
    ),
}


def task_of(name):
    return "value" if name in REGRESSION else "text" if name in WORDS else "class"


# Where no column is numbers.
NO_HATS = "no hats"


def settings(name, path, program, hats=True):
    """What the recipe has to be told of a stream: how many inputs and classes it has, and what is text."""
    found = []
    if name in WORDS:
        # A row of 32 for each word takes the place of the first layer.
        found += [
            NO_HATS,
            f"online.features.categorical={{ {WORDS[name]} = {{ words = {{ buckets = {BUCKETS} }} }} }}",
            "model.input.features=64",
            f"layers[0]={{ entity_embedding = {{ vocabulary = [{BUCKETS + 1}], tokens = [64], units = 32 }} }}",
        ]
    if name in REGRESSION:
        found += ["training.loss={ huber = { delta = 1.0 } }", "layers[2].dense.units=1"]
    else:
        with open(path) as file:
            labels = {line.rsplit(",", 1)[1].strip() for line in list(file)[1:]}
        found += [f"layers[2].dense.units={len(labels)}", f"online.classes={json.dumps(sorted(labels))}"]
    if name in WORDS:
        return found
    if hats:
        status, _, said = learn(program, path, [*found, "model.input.features=1000000", "model.hats.columns=99999"])
        match = re.search(r"set model.hats.columns to (\d+) and the model's input to { features = (\d+) }", said)
        if match:
            return [*found, f"model.hats.columns={match[1]}", f"model.input.features={match[2]}"]
    found.append(NO_HATS)
    status, _, said = learn(program, path, [*found, "model.input.features=1000000"])
    match = re.search(r"an event of the stream (\d+)", said)
    if status == 0 or not match:
        raise SystemExit(f"{name}: the number of inputs was not told: {said}")
    return [*found, f"model.input.features={match[1]}"]


def learn(program, path, sets):
    with tempfile.TemporaryDirectory() as folder:
        recipe = (ROOT / "recipes/stream.toml").read_text()
        if NO_HATS in sets:
            recipe = re.sub(r"(?m)^(hats|linear) .*\n", "", recipe)
        (pathlib.Path(folder) / "stream.toml").write_text(recipe)
        sets = [part for s in sets if s != NO_HATS for part in ("--set", s)]
        command = [program, "learn", folder + "/stream.toml", "--from", str(path), "--out", folder + "/run", "--json", *sets]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        lines = done.stdout.strip().splitlines()
        return done.returncode, json.loads(lines[-1]) if done.returncode == 0 else None, done.stderr


def figures(summary, name):
    found = summary["prequential"]
    speed = 1e6 / summary["events_per_second"]
    if name in REGRESSION:
        keys = {"score": "mae", "no_change": "no_change.mae"}
        return {k: found[v] for k, v in keys.items()} | {"microseconds": speed}
    wanted = {"score": "accuracy", "no_change": "no_change.accuracy", "majority": "prior.accuracy", "kappa_t": "kappa_t"}
    scale = {"kappa_t": 1.0}
    return {k: found.get(v, float("nan")) * scale.get(k, 100) for k, v in wanted.items()} | {"microseconds": speed}


def means(program, name, path, sets, seeds):
    """The mean of each figure over the seeds 1, 2, ...; of the time, the median."""
    runs = []
    for seed in range(1, seeds + 1):
        status, summary, said = learn(program, path, [*sets, f"training.seed={seed}"])
        if status:
            raise SystemExit(f"{name}: status {status}: {said}")
        runs.append(figures(summary, name))
    print(name, *(f"{run['score']:.4f}" for run in runs), file=sys.stderr, flush=True)
    mean = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
    return mean | {"microseconds": statistics.median(run["microseconds"] for run in runs)}


def river(folder, name, path, kinds):
    """River's figures, from the folder or measured now."""
    kept = pathlib.Path(folder) / f"river.{name}.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    models = [m for kind in kinds for m in (["ARF"] if kind == "forest" else LINEAR[task_of(name)])]
    everything = ["ARF", *LINEAR[task_of(name)]]
    models += [m for m in everything if m not in found and m not in models]
    if models:
        script = ROOT / "bench/peers/river_default.py"
        command = [sys.executable, str(script), str(path), task_of(name), *models]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True)
        for line in done.stdout.splitlines():
            line = json.loads(line)
            found[line.pop("model")] = line
        kept.write_text(json.dumps(found, indent=1))
    score = "mae" if name in REGRESSION else "accuracy"
    scores = {m: f[score] * (1 if score == "mae" else 100) for m, f in found.items() if score in f}
    best = (min if score == "mae" else max)((m for m in scores if m != "ARF"), key=scores.get)
    return scores["ARF"], found["ARF"]["microseconds_per_event"], scores[best], best


def row(name, ours, peers):
    arf, arf_us, linear, linear_name = peers
    value = name in REGRESSION
    better = min if value else max
    bar = better(arf, linear) if name not in ("hyperplane", "rbf", "stagger") else arf - 1.0
    bar = LEAST.get(name, bar)
    passed = ours["score"] <= bar if value else ours["score"] >= bar
    fast = arf_us / ours["microseconds"]
    unit = "" if value else " %"
    digits = 1 if value else 2
    text = lambda v: f"{v:.{digits}f}{unit}"  # noqa: E731
    kappa = "-" if value else f"{ours['kappa_t']:.2f}"
    majority = "-" if value else text(ours["majority"])
    verdict = "pass" if passed and fast > 100 else "fail: speed" if passed else "fail"
    return (
        f"| {name}{'' if name in TUNED else ' (untouched)'} | {text(ours['no_change'])} | {majority} | {text(arf)} | "
        f"{text(linear)} ({linear_name}) | **{text(ours['score'])}** | {kappa} | {ours['microseconds']:.1f} us | "
        f"{fast:,.0f} x | {verdict} ({text(bar)}) |"
    )


HEAD = """| stream | no-change | majority | ARF(10) | River's best linear | Tidemill | Kappa-T | an event | against ARF's time | bar |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def ablation(program, names, folder):
    """For each optimizer: its best rate on each stream, and the one rate that is best over all."""
    scores = {}
    for name in names:
        path = make(name, folder)
        sets = settings(name, path, program)
        for label, (optimizer, rates) in ABLATION.items():
            for rate in rates:
                status, summary, said = learn(program, path, [*sets, f"training.optimizer={optimizer(rate)}"])
                score = figures(summary, name)["score"] if status == 0 else float("nan")
                scores.setdefault(label, {}).setdefault(rate, {})[name] = score
                print(f"{name} {label} {rate}: {score:.2f}", file=sys.stderr, flush=True)
    worse = lambda n, s: (s if n in REGRESSION else -s)  # noqa: E731
    best = {n: min((worse(n, s[n]) for r in scores.values() for s in r.values() if s[n] == s[n])) for n in names}
    print("| optimizer | one rate for all | " + " | ".join(names) + " | mean loss against each stream's best |")
    print("| --- |" + " --- |" * (len(names) + 2))
    for label, rates in scores.items():

        def regret(rate, rates=rates):
            """Points lost, or per cent of error for values."""
            found = []
            for n in names:
                s = worse(n, rates[rate][n])
                lost = 100 * (s / best[n] - 1) if n in REGRESSION else s - best[n]
                found.append(lost if lost == lost else 100.0)
            return sum(min(f, 100.0) for f in found) / len(found)

        rate = min(rates, key=regret)
        cells = []
        for n in names:
            own = min(rates, key=lambda r: (worse(n, rates[r][n]) if rates[r][n] == rates[r][n] else 1e30))
            cells.append(f"{rates[rate][n]:.2f} ({rates[own][n]:.2f} @ {own})")
        print(f"| {label} | {rate} | " + " | ".join(cells) + f" | {regret(rate):.2f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"))
    p.add_argument("--streams", default=",".join(STREAMS))
    p.add_argument("--forest", action="store_true")
    p.add_argument("--linear", action="store_true")
    p.add_argument("--ablation", action="store_true")
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--no-river", action="store_true")
    p.add_argument("--no-hats", action="store_true", help="the default without hats, as it was before them")
    p.add_argument("--set", action="append", default=[], help="a further setting of the recipe, for a trial")
    o = p.parse_args()
    os.makedirs(o.folder, exist_ok=True)
    names = o.streams.split(",")
    if not shutil.which(o.tidemill):
        raise SystemExit(f"{o.tidemill} is not there: cargo build --release")
    if o.ablation:
        return ablation(o.tidemill, names, o.folder)
    print(HEAD, flush=True)
    kinds = ["forest"] * o.forest + ["linear"] * o.linear
    for name in names:
        path = make(name, o.folder)
        sets = settings(name, path, o.tidemill, hats=not o.no_hats)
        ours = means(o.tidemill, name, path, [*sets, *o.set], o.seeds)
        if o.no_river:
            print(name, ours, flush=True)
        else:
            print(row(name, ours, river(o.folder, name, path, kinds)), flush=True)


if __name__ == "__main__":
    main()
