"""A speaker that a recognizer has not heard: what 50 corrected utterances change, for them and for the others.

    cargo build --release
    python bench/speakers.py [--speakers theo george] [--folder DIR]

Strings of spoken digits (the Free Spoken Digit Dataset, in $TIDEMILL_DATA or ../shared/data). For each speaker: `recipes/digits-streaming.toml` is trained on the
five others, then learns from 50 corrected strings of the speaker, one after the other (`tidemill learn`). The word error rates are those of test strings,
made of recordings that neither training nor corrections have: of the speaker, and of the five others. Each row is another way to learn. No wall-clock time is part
of a result, so that a second run gives the same figures.
"""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("TIDEMILL", ROOT / "target/release/tidemill"))
SPEAKERS = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
WAYS = {
    "as it is": [],
    "replay off": ["online.corrections.stored=0", "online.corrections.recent=0"],
    "replay off, biases": ["online.corrections.stored=0", "online.corrections.recent=0", "online.corrections.scope=biases"],
    "replay off, head": ["online.corrections.stored=0", "online.corrections.recent=0", "online.corrections.scope=head"],
    "biases": ["online.corrections.scope=biases"],
    "head": ["online.corrections.scope=head"],
}


def tidemill(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in arguments else {}


def data_folder():
    root = pathlib.Path(os.environ.get("TIDEMILL_DATA", ROOT.parent / "shared/data"))
    archive = root / "fsdd/fsdd-recordings.tar.gz"
    if not archive.is_file():
        raise SystemExit(f"{archive} is not there; name its folder with TIDEMILL_DATA")
    return archive


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, chosen):
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, ["path", "text", "speaker"], extrasaction="ignore")
        table.writeheader()
        table.writerows(chosen)
    return path


def wer(run, data, *more):
    return tidemill("eval", run, "--data", data, "--json", *more)["transcripts"]["wer"]


def measure(folder, speaker, given):
    """Rates of each way to learn: of the speaker, of the others, over the corrections as they came."""
    digits = folder / "digits"
    train, test = rows(digits / "train.csv"), rows(digits / "test.csv")
    own = [row for row in train if row["speaker"] == speaker][: given.corrections]
    corrections = write(digits / f"{speaker}-corrections.csv", own)
    tests = [
        write(digits / f"{speaker}-test.csv", [row for row in test if row["speaker"] == speaker]),
        write(digits / f"not-{speaker}-test.csv", [row for row in test if row["speaker"] != speaker]),
    ]
    recipe = (ROOT / "recipes/digits-streaming.toml").read_text()
    recipe = recipe.replace('path = "digits/train.csv"', f'path = "digits/train.csv", except_speakers = ["{speaker}"]')
    path = folder / f"without-{speaker}.toml"
    path.write_text(recipe)
    base = folder / f"base-{speaker}-{given.epochs}"
    if not (base / "summary.json").is_file():
        tidemill("train", path, "--out", base, "--force", "--set", f"batch.epochs={given.epochs}", "--json")
    found = {"before": {"speaker": wer(base, tests[0]), "others": wer(base, tests[1])}}
    for name in given.ways:
        run = folder / f"learned-{speaker}"
        more = [part for key in [*WAYS[name], *given.set] for part in ("--set", key)]
        learned = tidemill("learn", base, "--from", corrections, "--out", run, "--force", "--json", *more)
        found[name] = {"speaker": wer(run, tests[0]), "others": wer(run, tests[1]), "came": learned["prequential"]["wer"],
                       "last": learned["prequential"]["sliding.wer"], "quarantined": learned.get("quarantined", 0)}
    return found


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--speakers", nargs="+", default=SPEAKERS, choices=SPEAKERS)
    arguments.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments.add_argument("--corrections", type=int, default=50)
    arguments.add_argument("--epochs", type=int, default=25)
    arguments.add_argument("--set", nargs="*", default=[], help="further values of the recipe for learning, KEY=VALUE")
    arguments.add_argument("--folder", type=pathlib.Path, help="kept for the next run; a temporary one by default")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "digits/test.csv").is_file():
            tidemill("data", "connected-digits", "--from", data_folder(), "--out", folder / "digits", "--test", 600)
        percent = lambda rate: f"{100 * rate:6.2f}"
        print(f"{'speaker':10} {'learned':20} {'WER speaker':>12} {'WER others':>11} {'errors gone':>12} {'others lose':>12}  {'WER as they came':>16}  quarantined")
        for speaker in given.speakers:
            found = measure(folder, speaker, given)
            before = found["before"]
            for name, rates in found.items():
                own, others = rates["speaker"]["value"], rates["others"]["value"]
                gone = 100 * (1 - own / before["speaker"]["value"]) if before["speaker"]["value"] else 0.0
                lose = 100 * (others - before["others"]["value"])
                came = percent(rates["came"]) if "came" in rates else ""
                print(f"{speaker:10} {name:20} {percent(own):>12} {percent(others):>11} {gone:10.1f} % {lose:+10.2f} p  {came:>16}  {rates.get('quarantined', '')}", flush=True)


if __name__ == "__main__":
    main()
