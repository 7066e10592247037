#!/usr/bin/env python3
"""Every table, text, image folder and IDX file of a data folder: `init`, `learn` and `train`, with no recipe edited.

    python bench/any_data.py target/release/tidemill ../shared/data [--only NAME,NAME]

Each job has to end with status 0 and account for every row, and its figure stands beside a linear model's on the same
rows: scikit-learn's after `train` (a fifth of the rows is held out), River's for `learn` (predicted, then learned from, in
the same order; the first RIVER_ROWS rows count for both, fewer where there are many classes). Accuracy, or for numbers the mean absolute error and
the root of the mean squared error. Prints a table in Markdown; status 1 if a job failed, lost a row or was below.
"""

import argparse
import csv
import io
import json
import pathlib
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import linear  # noqa: E402

RIVER_ROWS = 30_000
IMAGES = 6_000

# Name, file (of an archive the member, less columns), the column to predict if `init` is told, and whether the file has a header.
TABLES = [
    ("adult", "adult_census/adult.data.gz", None, False),
    ("AG news", "ag_news_test/test.csv.gz", "c1", False),
    ("airlines", "airlines_2k/allyears2k_headers.zip", "IsDepDelayed", True),
    ("banking77", "banking77/train.csv", None, True),
    ("PM2.5", "beijing_pm25/PRSA_data_2010.1.1-2014.12.31.csv.gz", "pm2.5", True),
    ("bikes, hours", "bike_sharing/Bike-Sharing-Dataset.zip:hour.csv", "cnt", True),
    ("bikes, days", "bike_sharing/Bike-Sharing-Dataset.zip:day.csv", "cnt", True),
    ("bikes, hours, without the counts", "bike_sharing/Bike-Sharing-Dataset.zip:hour.csv-casual,registered", "cnt", True),
    ("bikes, days, without the counts", "bike_sharing/Bike-Sharing-Dataset.zip:day.csv-casual,registered", "cnt", True),
    ("covertype", "covertype_20k/covtype.20k.data.gz", None, False),
    ("Criteo, 200", "criteo_sample/criteo_sample.txt", "label", True),
    ("Criteo, 1,000", "criteo_sample/train_1000.txt", "c1", False),
    ("Elec2, 6", "electricity/elec.csv.gz", None, True),
    ("Elec2, 8", "electricity/elec2_8.csv.gz", None, True),
    ("KDD-99", "kddcup99/kddcup.data_10_percent.gz", None, False),
    ("KDD-99, corrected", "kddcup99/corrected.gz", None, False),
    ("metro", "metro_traffic/Metro_Interstate_Traffic_Volume.csv.gz", None, True),
    ("ratings", "movielens_latest_small/ratings.csv", "rating", True),
    ("movies", "movielens_latest_small/movies.csv", None, True),
    ("tags", "movielens_latest_small/tags.csv", None, True),
    ("links", "movielens_latest_small/links.csv", None, True),
    ("phishing", "phishing_websites/phishing.csv.gz", None, True),
    ("SEA", "sea/sea_50k.csv.gz", None, True),
    ("SMS", "sms_spam/SMSSpamCollection", "c1", False),
    ("weather", "weather_noaa/weather.csv.gz", None, True),
    ("DialogSum topics", "dialogsum_dev/dialogsum.dev.jsonl.gz", "topic", None),
]
NO_JOB = {
    "fsdd": "audio",
    "multi30k_en_de": "pairs of sentences, for translation",
    "tiny_shakespeare": "running text, for a language model",
    "aeslc": "texts with summaries",
    "scitldr_a": "texts with summaries",
    "clinc150": "one JSON object that holds lists of pairs for each split",
}
HEAD = """| data | rows | bad | no label | learn | River's linear | train | scikit-learn's linear | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


class Failed(Exception):
    pass


def call(program, *arguments):
    command = [str(program), *(str(a) for a in arguments)]
    done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Failed(f"{arguments[0]}: status {done.returncode}: {' '.join(last)[:300]}")
    return done.stdout


def json_of(output):
    return json.loads(output.strip().splitlines()[-1])


def unpacked(data, name, folder):
    """The file as it is, or the member of an archive; without the columns after `-`."""
    archive, _, member = name.partition(":")
    member, _, without = member.partition("-")
    path = data / archive
    if path.suffix != ".zip":
        return path
    with zipfile.ZipFile(path) as file:
        member = next(n for n in file.namelist() if n.endswith(member or ".csv"))
        out = folder / pathlib.Path(member).name
        out.write_bytes(file.read(member))
    if without:
        names, *lines = list(csv.reader(out.read_text().splitlines()))
        kept = [i for i, n in enumerate(names) if n not in without.split(",")]
        out.write_text("".join(",".join(line[i] for i in kept) + "\n" for line in [names, *lines]))
    return out


def split(path, folder, header, delimiter):
    """The file's rows, byte for byte, as two files: four fifths and one fifth, drawn at random."""
    lines = linear.text_of(path).splitlines(keepends=True)
    if header is None:
        records = [line for line in lines if line.strip()]
    else:
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        reader, records, start = csv.reader(lines, delimiter=delimiter, quoting=quoting), [], 0
        for row in reader:
            if row:
                records.append("".join(lines[start : reader.line_num]))
            start = reader.line_num
    head = [records.pop(0)] if header else []
    held_out = set(random.Random(1).sample(range(len(records)), len(records) // 5))
    # The names that `init` knows formats by.
    end = ".jsonl" if header is None else pathlib.Path(path.name.removesuffix(".gz")).suffix
    files = []
    for name, part in ("train", False), ("test", True):
        out = folder / f"{name}-rows{end}"
        out.write_text("".join(head + [r for i, r in enumerate(records) if (i in held_out) == part]), newline="")
        files.append(out)
    return len(records), held_out, *files


def learned(program, recipe, source, folder, rows, *more):
    """Its summary and its predictions; every row has to be accounted for."""
    predictions = folder / "predictions.csv"
    said = call(program, "learn", recipe, "--from", source, "--out", folder / "learn", "--force", "--json",
                "--predictions", predictions, *more)  # fmt: skip
    summary = json_of(said)
    found = summary["events"] + summary["bad_events"] + summary["shed"]
    if found != rows:
        raise Failed(f"learn: {found} of {rows} rows")
    with open(predictions, newline="") as file:
        return summary, list(csv.DictReader(file))


def table(program, data, folder, name, file, label, header):
    path = unpacked(data, file, folder)
    recipe = folder / "recipe.toml"
    told = ["--label", label] if label else []
    call(program, "init", path, "--out", recipe, "--force", *told)
    delimiter = "\t" if name in ("SMS", "Criteo, 1,000") else ","
    rows, held_out, train, test = split(path, folder, header, delimiter)
    whole = linear.Rows.read(path, header, delimiter, label)
    if len(whole) != rows:
        raise SystemExit(f"{name}: pandas reads {len(whole)} rows, not {rows}")
    summary, predicted = learned(program, recipe, path, folder, rows)
    # River's time grows with the classes.
    most = RIVER_ROWS if whole.is_value else RIVER_ROWS // max(1, len(set(whole.labels)) // 20)
    online = linear.online(whole, most)
    # Both count from the second row on: before the first label, there are no units.
    compared = predicted[1:most]
    ours = linear.score([p["prediction"] for p in compared], [p["label"] for p in compared], whole.is_value)

    call(program, "init", train, "--out", recipe, "--force", *told)
    call(program, "train", recipe, "--out", folder / "train", "--force")
    trained = json.loads((folder / "train/summary.json").read_text())
    seen = trained["samples"] // trained["epochs"]
    labelled = whole.take(i for i in range(rows) if i not in held_out).labelled()
    # A recipe may keep rows for validation; both models then learn from as many.
    share = re.search(r"validation_split = ([0-9.]+)", recipe.read_text())
    kept = int(len(labelled) * float(share[1])) if share else 0
    if seen != len(labelled) - kept:
        raise Failed(f"train: {seen} of {len(labelled)} rows, {kept} of them for validation")
    labelled = labelled.shuffled().take(range(seen))
    answers = list(csv.reader(io.StringIO(call(program, "predict", folder / "train", "--data", test))))[1:]
    truth = whole.take(sorted(held_out))
    if len(answers) != len(truth):
        raise Failed(f"predict: {len(answers)} of {len(truth)} rows")
    after = linear.score([a[1] for a in answers], truth.labels, whole.is_value)
    batch = linear.batch(labelled, truth)
    counts = (rows, summary["bad_events"], summary["unlabelled"])
    return counts, ours, online, after, batch


def trained_folder(program, folder, given, sets, test):
    """`train` and `eval` of a folder of files, or of arrays."""
    recipe = folder / "recipe.toml"
    call(program, "init", given, "--out", recipe, "--force")
    call(program, "train", recipe, "--out", folder / "train", "--force", *sets)
    return json_of(call(program, "eval", folder / "train", "--json"))["figures"]["accuracy"] if test else None


def newsgroups(program, data, folder):
    root = folder / "texts"
    with tarfile.open(data / "newsgroups20/20news-bydate.tar.gz") as archive:
        archive.extractall(root, filter="data")
    (train, test) = (linear.texts(root / f"20news-bydate-{part}") for part in ("train", "test"))
    after = trained_folder(program, folder, root, [], True)
    summary, predicted = learned(program, folder / "recipe.toml", "data:", folder, len(train))
    ours = linear.score([p["prediction"] for p in predicted], [p["label"] for p in predicted], False)
    # The replay is in an order of its own, so River gets another order of the same texts.
    return (len(train), summary["bad_events"], 0), ours, linear.online(train.shuffled(), len(train)), (after,), linear.batch(train, test)


def idx(program, data, folder, name):
    """All images by `learn`; the first IMAGES of them by `train`, as scikit-learn's."""
    small = folder / "idx"
    small.mkdir()
    train, test = linear.idx(data / name, "train", IMAGES, small), linear.idx(data / name, "t10k", 2_000, small)
    recipe = folder / "recipe.toml"
    call(program, "init", data / name, "--out", recipe, "--force")
    summary, _ = learned(program, recipe, "data:", folder, 60_000)
    # The same images in the same order as River.
    _, predicted = learned(program, recipe, "data:", folder, IMAGES, "--set", "batch.shuffle=false", "--until-events", IMAGES)
    ours = linear.score([p["prediction"] for p in predicted], [p["label"] for p in predicted], False)
    after = trained_folder(program, folder, small, ["--set", "batch.epochs=8"], True)
    return (60_000, summary["bad_events"], 0), ours, linear.online(train, IMAGES), (after,), linear.batch(train, test)


def cifar(program, data, folder):
    archive = data / "cifar10_jpg_subset/cifar10_jpg_subset.tar.gz"
    train, test = linear.images(archive, "train"), linear.images(archive, "test")
    after = trained_folder(program, folder, archive, ["--set", "batch.epochs=4"], True)
    summary, predicted = learned(program, folder / "recipe.toml", "data:", folder, len(train))
    ours = linear.score([p["prediction"] for p in predicted[:IMAGES]], [p["label"] for p in predicted[:IMAGES]], False)
    return (len(train), summary["bad_events"], 0), ours, linear.online(train.shuffled(), IMAGES), (after,), linear.batch(train, test)


def imagenet(program, data, folder):
    """150 photos of 150 classes: nothing can be learned of them, but every one has to be read."""
    archive = data / "imagenet_sample_150/imagenet_sample_150.tar"
    trained_folder(program, folder, archive, ["--set", "batch.epochs=1", "--set", "batch.data.image_directory.validation_split=0.2"], False)
    read = json.loads((folder / "train/summary.json").read_text())["samples"]
    summary, _ = learned(program, folder / "recipe.toml", "data:", folder, read)
    return (150, summary["bad_events"], 0), None, None, None, None


def text(figures):
    if figures is None:
        return "-"
    return f"{100 * figures[0]:.2f} %" if len(figures) == 1 else " / ".join(f"{f:,.4g}" for f in figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("data", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--only", default="", help="names of data, with commas")
    args = parser.parse_args()
    jobs = {t[0]: (lambda p, d, f, t=t: table(p, d, f, *t)) for t in TABLES}
    jobs |= {"20 newsgroups": newsgroups, "CIFAR-10, a part": cifar, "ImageNet, 150": imagenet}
    jobs |= {n: (lambda p, d, f, n=n: idx(p, d, f, n)) for n in ("mnist", "fashion_mnist")}
    only = [n for n in jobs if any(part.strip() in n for part in args.only.split(","))]
    print(HEAD, flush=True)
    failed = False
    for name in only:
        with tempfile.TemporaryDirectory() as folder:
            try:
                (rows, bad, unlabelled), ours, river, after, sklearn = jobs[name](args.program, args.data, pathlib.Path(folder))
            except Failed as why:
                failed = True
                print(f"| {name} | {why} |", flush=True)
                continue
        compared = (("learn", ours, river, min(rows, RIVER_ROWS)), ("train", after, sklearn, rows // 5))
        faults = [f"{what} is below" for what, a, b, n in compared if linear.below(a, b, n)]
        failed |= bool(faults)
        cells = (text(f) for f in (ours, river, after, sklearn))
        print(f"| {name} | {rows:,} | {bad} | {unlabelled:,} | {' | '.join(cells)} | {', '.join(faults)} |", flush=True)
    if not args.only:
        print()
        for name, what in NO_JOB.items():
            print(f"- {name}: no job here ({what})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
