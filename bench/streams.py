#!/usr/bin/env python3
"""Makes the streams that bench/online.py measures on, from the datasets of ../shared/data (or $TIDEMILL_DATA).

    python bench/streams.py FOLDER [NAME...]     # what is there already is kept

Nothing of it belongs into the repository: the folder should be a temporary one.
"""

import csv
import gzip
import json
import os
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get("TIDEMILL_DATA", ROOT.parent / "shared/data"))

# The small sets are over in milliseconds; so often one after another they can be timed.
ELEC2_TIMES, ADULT_TIMES, SMS_TIMES = 23, 5, 50
ADULT = (
    "age workclass fnlwgt education education_num marital occupation relationship race sex gain loss hours country"
).split()
NUMBERS = {"age", "fnlwgt", "education_num", "gain", "loss", "hours"}


def elec2_rows():
    with gzip.open(DATA / "electricity/elec2_8.csv.gz", "rt") as file:
        lines = file.read().splitlines()
    return lines[0], lines[1:]


def elec2_csv(out):
    """Eight features and the class, with a header."""
    header, rows = elec2_rows()
    out.write(header + "\n")
    for _ in range(ELEC2_TIMES):
        out.write("\n".join(rows) + "\n")


def elec2_vw(out):
    """The same events for Vowpal Wabbit: labels -1 and 1."""
    header, rows = elec2_rows()
    names = header.split(",")[:-1]
    lines = []
    for row in rows:
        *values, label = row.split(",")
        features = " ".join(f"{name}:{value}" for name, value in zip(names, values))
        lines.append(f"{'1' if label == '1' else '-1'} | {features}\n")
    for _ in range(ELEC2_TIMES):
        out.writelines(lines)


def clean(text):
    """A feature's name: VW splits at spaces, colons and bars."""
    return re.sub(r"[\s:|]+", "_", text.strip())


def adult_vw(out):
    """Categories as features of their own; numbers scaled by powers of ten to about 1, and `?` left out."""
    lines, scale = [], {"age": 0.01, "fnlwgt": 1e-6, "education_num": 0.1, "gain": 1e-4, "loss": 1e-3, "hours": 0.01}
    for name in ("adult.data.gz", "adult.test.gz"):
        with gzip.open(DATA / "adult_census" / name, "rt") as file:
            for row in csv.reader(file, skipinitialspace=True):
                if len(row) != 15:
                    continue
                features = []
                for column, value in zip(ADULT, row):
                    if column in NUMBERS:
                        features.append(f"{column}:{float(value) * scale[column]:.6g}")
                    elif value != "?":
                        features.append(f"{column}={clean(value)}")
                lines.append(f"{'1' if row[-1].startswith('>') else '-1'} | {' '.join(features)}\n")
    for _ in range(ADULT_TIMES):
        out.writelines(lines)


def sms_vw(out):
    """A word is a feature; spam is 1."""
    lines = []
    with open(DATA / "sms_spam/SMSSpamCollection", encoding="utf-8") as file:
        for line in file:
            label, text = line.rstrip("\n").split("\t", 1)
            words = re.findall(r"\w+", text.lower())
            lines.append(f"{'1' if label == 'spam' else '-1'} | {' '.join(words)}\n")
    for _ in range(SMS_TIMES):
        out.writelines(lines)


def kdd_vw(out):
    """An attack is 1. Symbols are features of their own; zeros are left out, large numbers become logarithms."""
    symbols = {1: "protocol", 2: "service", 3: "flag"}
    with gzip.open(DATA / "kddcup99/kddcup.data_10_percent.gz", "rt") as file:
        for row in csv.reader(file):
            features = []
            for i, value in enumerate(row[:-1]):
                if i in symbols:
                    features.append(f"{symbols[i]}={value}")
                elif (number := float(value)) != 0:
                    features.append(f"f{i}:{np.log1p(number) if number > 1 else number:.4g}")
            out.write(f"{'-1' if row[-1] == 'normal.' else '1'} | {' '.join(features)}\n")


def mnist():
    with gzip.open(DATA / "mnist/train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(DATA / "mnist/train-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)


def mnist_ndjson(out):
    """`{"x": [784 numbers 0 to 1], "label": 7}`, one a line; three decimals tell 256 greys apart."""
    images, labels = mnist()
    greys = [f"{v / 255:.3f}".rstrip("0").rstrip(".") or "0" for v in range(256)]
    for image, label in zip(images, labels):
        out.write(f'{{"x":[{",".join([greys[v] for v in image])}],"label":{label}}}\n')


STREAMS = {
    "elec2.csv": elec2_csv,
    "elec2.vw": elec2_vw,
    "adult.vw": adult_vw,
    "sms.vw": sms_vw,
    "kdd.vw": kdd_vw,
    "mnist.ndjson": mnist_ndjson,
}


def make(folder, name):
    """The path of a stream, made if it is not there yet."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        unfinished = folder / f"{name}.unfinished"
        with open(unfinished, "w", encoding="utf-8") as out:
            STREAMS[name](out)
        unfinished.rename(path)
    return path


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-") or set(sys.argv[2:]) - set(STREAMS):
        raise SystemExit(f"{__doc__}\nnames: {', '.join(STREAMS)}")
    made = [make(sys.argv[1], name) for name in sys.argv[2:] or STREAMS]
    print(json.dumps({path.name: path.stat().st_size for path in made}))


if __name__ == "__main__":
    main()
