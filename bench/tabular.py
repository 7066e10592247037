#!/usr/bin/env python3
"""The recipe that `tidemill init --batch` writes for a table, untouched, beside scikit-learn's HistGradientBoosting at its defaults.

    python bench/tabular.py [--data ../shared/data] [--jobs adult,covertype,bikes] [--seeds 1,2,3] [--tidemill target/release/tidemill]
                            [--set KEY=VALUE]...

Both are given the same training rows and measured on the same test rows, which neither sees before: those of the dataset (adult), or a
fifth drawn by the seed 0 (covertype, bikes). Both keep a tenth of the training rows to stop early by, which is HistGradientBoosting's
default for more than 10,000 rows. --set changes the recipe, for experiments.
Needs scikit-learn and numpy.
"""

import argparse
import csv
import gzip
import io
import json
import pathlib
import re
import subprocess
import tempfile
import time
import zipfile

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OrdinalEncoder

ROOT = pathlib.Path(__file__).resolve().parents[1]

ADULT = (
    "age workclass fnlwgt education education_num marital occupation relationship race sex gain loss hours country"
).split()


def adult(data):
    """Rows of the two files as the dataset divides them; the test labels end with a dot."""
    def rows(name):
        lines = gzip.open(data / "adult_census" / name, "rt").read().splitlines()
        cells = [[c.strip() for c in line.split(",")] for line in lines if line.count(",") == 14]
        return [[*row[:-1], row[-1].rstrip(".")] for row in cells]

    return [*ADULT, "income"], rows("adult.data.gz"), rows("adult.test.gz")


def covertype(data):
    lines = gzip.open(data / "covertype_20k" / "covtype.20k.data.gz", "rt").read().splitlines()
    rows = [line.split(",") for line in lines if line]
    return [*[f"x{i}" for i in range(54)], "cover"], *drawn(rows)


def bikes(data):
    """Without the two columns whose sum is the target, and the one that counts rows."""
    with zipfile.ZipFile(data / "bike_sharing" / "Bike-Sharing-Dataset.zip") as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.open("hour.csv"))))
    keep = [i for i, name in enumerate(rows[0]) if name not in ("instant", "dteday", "casual", "registered")]
    rows = [[row[i] for i in keep] for row in rows]
    return rows[0], *drawn(rows[1:])


def drawn(rows):
    order = np.random.default_rng(0).permutation(len(rows))
    cut = len(rows) * 4 // 5
    return [rows[i] for i in order[:cut]], [rows[i] for i in order[cut:]]


JOBS = {"adult": (adult, "class"), "covertype": (covertype, "class"), "bikes": (bikes, "value")}


def write(path, head, rows):
    with open(path, "w", newline="") as out:
        csv.writer(out).writerows([head, *rows])


def run(arguments, cwd):
    found = subprocess.run([str(a) for a in arguments], cwd=cwd, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"{arguments}: {found.stderr}")
    return found.stdout


def ours(program, kind, head, train, test, seed, settings):
    """Figures on the test rows, seconds of training, and the validation figures."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write(folder / "train.csv", head, train)
        write(folder / "test.csv", head, test)
        run([program, "init", "train.csv", "--label", head[-1], "--batch", "--out", "r.toml"], folder)
        lines = (folder / "r.toml").read_text()
        (folder / "r.toml").write_text(re.sub(r"(?m)^seed = \d+", f"seed = {seed}", lines))
        start = time.monotonic()
        sets = [part for setting in settings for part in ("--set", setting)]
        run([program, "train", "r.toml", "--out", "run", *sets], folder)
        seconds = time.monotonic() - start
        printed = run([program, "predict", "run", "--data", "test.csv", "--json", "--all"], folder)
        lines = [json.loads(line) for line in printed.splitlines()]
        summary = json.loads((folder / "run" / "summary.json").read_text())
        note = f"{summary['epochs']} epochs"
        if kind == "value":
            values = np.array([next(iter(line["outputs"].values())) for line in lines])
            return figures(kind, test, values), seconds, note
        names = sorted({row[-1] for row in train})
        scores = np.array([[line["outputs"][name] for name in names] for line in lines])
        return figures(kind, test, scores, names), seconds, note


def figures(kind, test, predicted, names=None):
    if kind == "value":
        truth = np.array([float(row[-1]) for row in test])
        return {"rmse": float(np.sqrt(np.mean((predicted - truth) ** 2)))}
    truth = np.array([names.index(row[-1]) for row in test])
    found = {"accuracy": 100 * float(np.mean(predicted.argmax(1) == truth))}
    if len(names) == 2:
        found["auc"] = float(roc_auc_score(truth, predicted[:, 1]))
    return found


def boosted(kind, head, train, test, seed):
    def is_number(column):
        try:
            return all(row[column] in ("?", "") or float(row[column]) is not None for row in train)
        except ValueError:
            return False

    texts = [i for i in range(len(head) - 1) if not is_number(i)]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    if texts:
        encoder.fit([[row[i] for i in texts] for row in train])

    def inputs(rows):
        number = lambda text: np.nan if text in ("?", "") else float(text)  # noqa: E731
        x = np.array([[0.0 if i in texts else number(row[i]) for i in range(len(head) - 1)] for row in rows])
        if texts:
            x[:, texts] = encoder.transform([[row[i] for i in texts] for row in rows])
        return x

    start = time.monotonic()
    if kind == "value":
        model = HistGradientBoostingRegressor(categorical_features=texts or None, random_state=seed)
        model.fit(inputs(train), [float(row[-1]) for row in train])
        return figures(kind, test, model.predict(inputs(test))), time.monotonic() - start
    model = HistGradientBoostingClassifier(categorical_features=texts or None, random_state=seed)
    model.fit(inputs(train), [row[-1] for row in train])
    seconds = time.monotonic() - start
    return figures(kind, test, model.predict_proba(inputs(test)), list(model.classes_)), seconds


# How far behind HistGradientBoosting the issue allows: points, area, and a share of the error.
BARS = {"accuracy": lambda a, b: b - a <= 1.0, "auc": lambda a, b: b - a <= 0.008, "rmse": lambda a, b: a <= 1.05 * b}


def mean(all_figures):
    return {key: float(np.mean([f[key] for f in all_figures])) for key in all_figures[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--jobs", default="adult,covertype,bikes")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--tidemill", type=pathlib.Path, default=ROOT / "target" / "release" / "tidemill")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    program = options.tidemill.resolve()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print("| table | figure | init's recipe | seconds | HistGradientBoosting | seconds | bar |\n| --- | --- | --- | --- | --- | --- | --- |")
    for job in options.jobs.split(","):
        make, kind = JOBS[job]
        head, train, test = make(options.data)
        found = [ours(program, kind, head, train, test, seed, options.settings) for seed in seeds]
        peer = [boosted(kind, head, train, test, seed) for seed in seeds]
        own, other = mean([f[0] for f in found]), mean([f[0] for f in peer])
        for key in own:
            each = ", ".join(f"{f[0][key]:.4g}" for f in found)
            passes = "met" if BARS[key](own[key], other[key]) else "missed"
            print(
                f"| {job} | {key} | {own[key]:.4f} ({each}) | {np.mean([f[1] for f in found]):.1f} ({found[0][2]}) | "
                f"{other[key]:.4f} | {np.mean([f[1] for f in peer]):.1f} | {passes} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
