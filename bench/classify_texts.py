#!/usr/bin/env python3
"""Texts classified: Tidemill's recipes beside fastText's own program and scikit-learn's TF-IDF with logistic regression.

    pip install fasttext-wheel scikit-learn "numpy<2"      # in a virtual environment of its own
    python bench/classify_texts.py target/release/tidemill ../shared/data [--only banking77] [--peers fastText] [--full-grid]

The time is that of a whole job in a fresh process: reading the texts, learning, and the accuracy on the test set. fastText
gets the words as Tidemill does (runs of letters and digits, in lower case) from a file that is written before its time
starts, and two threads. Each setting of its grid is a job; the table has the one that is best *on the test set*, which is
more than Tidemill gets, and how long the whole grid took. Prints a table in Markdown.
"""

import argparse
import csv
import gzip
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time

RECIPES = pathlib.Path(__file__).resolve().parents[1] / "recipes"
SETS = ["newsgroups", "banking77", "clinc150"]
WORD = re.compile(r"[^\W_]+")

FASTTEXT = """
import sys, json, fasttext
train, test, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = fasttext.train_supervised(train, thread=2, verbose=0, **options)
model.save_model(train + ".bin")
print(json.dumps(model.test(test)[1]))
"""

SKLEARN = """
import sys, json
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
def read(path):
    rows = [line.rstrip("\\n").split(" ", 1) for line in open(path)]
    return [row[1] if len(row) > 1 else "" for row in rows], [row[0] for row in rows]
(x, y), (u, v) = read(sys.argv[1]), read(sys.argv[2])
options = json.loads(sys.argv[3])
tfidf = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\\S+", ngram_range=(1, options["ngrams"]))
x = tfidf.fit_transform(x)
model = LogisticRegression(C=options["C"], max_iter=200).fit(x, y)
print(json.dumps(model.score(tfidf.transform(u), v)))
"""


def prepare(data, folder):
    """The recipes' data below a folder, and each set's texts with their labels as (train, test)."""
    with tarfile.open(data / "newsgroups20/20news-bydate.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "banking77").symlink_to(data / "banking77")
    (folder / "clinc150").mkdir()
    parts = json.load(gzip.open(data / "clinc150/data_full.json.gz"))
    for part in ("train", "test"):
        with open(folder / f"clinc150/{part}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "intent"], *parts[part]])
    for name in SETS:
        for part in ("train", "test"):
            with open(folder / f"{name}.{part}", "w") as file:
                for text, label in texts(folder, name, part):
                    words = " ".join(WORD.findall(text.lower()))
                    file.write(f"__label__{label.replace(' ', '_')} {words}\n")


def texts(folder, name, part):
    if name != "newsgroups":
        with open(folder / name / f"{part}.csv", newline="") as file:
            yield from list(csv.reader(file))[1:]
        return
    for path in sorted((folder / f"20news-bydate-{part}").glob("*/*")):
        data = path.read_bytes()
        try:
            yield data.decode(), path.parent.name
        except UnicodeDecodeError:
            yield data.decode("latin-1"), path.parent.name


def timed(command, **more):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, **more)
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


def tidemill(program, folder, name):
    command = [program, "train", RECIPES / f"{name}.toml", "--out", folder / f"run-{name}", "--force", "--json"]
    seconds, summary = timed(command, env={**os.environ, "TIDEMILL_DATA": str(folder)})
    return seconds, summary["validation"]["accuracy"], "recipe"


def grid(name, peer, full):
    """The settings of a peer; long texts need a higher rate, since each word gets a small share of the gradient."""
    if peer == "scikit-learn":
        return [{"C": c, "ngrams": n} for c in (10, 50) for n in (1, 2)]
    long = name == "newsgroups"
    rates, epochs = ((5.0, 20.0), (10,)) if long else ((0.5,), (25, 50, 100))
    grams = (1, 2) if long or full else (2,)
    parts = ((0, 0),) if long and not full else ((0, 0), (3, 5))
    if full:
        rates, epochs = rates + (1.0,), epochs + (25, 50) if long else epochs
    return [
        {"lr": lr, "epoch": epoch, "wordNgrams": n, "minn": minn, "maxn": maxn, "dim": 64, "bucket": 200_000}
        for (minn, maxn), n, lr, epoch in itertools.product(parts, grams, rates, epochs)
    ]


def peer(name, kind, folder, full):
    code = FASTTEXT if kind == "fastText" else SKLEARN
    best, whole = None, 0.0
    for options in grid(name, kind, full):
        command = [sys.executable, "-c", code, folder / f"{name}.train", folder / f"{name}.test", json.dumps(options)]
        seconds, accuracy = timed(command)
        whole += seconds
        print(f"{name}, {kind}, {options}: {accuracy:.4f} in {seconds:.1f} s", file=sys.stderr, flush=True)
        if best is None or accuracy > best[1]:
            best = seconds, accuracy, options
    seconds, accuracy, options = best
    said = ", ".join(f"{key} {value}" for key, value in options.items() if key not in ("dim", "bucket"))
    return seconds, accuracy, f"{said} (all settings: {whole:.0f} s)"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("data", type=pathlib.Path)
    arguments.add_argument("--only", default=",".join(SETS))
    arguments.add_argument("--peers", default="fastText,scikit-learn")
    arguments.add_argument("--full-grid", action="store_true")
    options = arguments.parse_args()
    print("| data | program | test accuracy | whole job | settings |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        prepare(options.data.resolve(), folder)
        for name in options.only.split(","):
            rows = [("Tidemill", tidemill(options.program.resolve(), folder, name))]
            peers = filter(None, options.peers.split(","))
            rows += [(kind, peer(name, kind, folder, options.full_grid)) for kind in peers]
            for program, (seconds, accuracy, settings) in rows:
                print(f"| {name} | {program} | {100 * accuracy:.2f} % | {seconds:.1f} s | {settings} |", flush=True)


if __name__ == "__main__":
    main()
