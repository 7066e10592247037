#!/usr/bin/env python3
"""Learning from corrections: a stream made of Multi30k's validation pairs, in which a customer's glossary renames 20 nouns. A model that was
trained without it translates each sentence, then learns the correction. Beside it: the same model that learns nothing. See README.md.

    tidemill train recipes/multi30k.toml --out runs/multi30k
    python3 bench/corrections.py runs/multi30k --data ../shared/data/multi30k_en_de
"""

import argparse
import gzip
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Nouns of the captions, and what the customer calls them; of some both numbers.
GLOSSARY = {
    "Hund": "Vierbeiner", "Hunde": "Vierbeiner", "Straße": "Fahrbahn", "Shirt": "Oberteil", "Hemd": "Oberhemd",
    "Kamera": "Filmkamera", "Fahrrad": "Velo", "Strand": "Küstenstreifen", "Gebäude": "Bauwerk", "Tisch": "Tafel",
    "Jacke": "Blouson", "Boden": "Untergrund", "Bank": "Sitzbank", "Gras": "Rasen", "Mütze": "Kappe",
    "Gitarre": "Klampfe", "Stadt": "Ortschaft", "Gesicht": "Antlitz", "Boot": "Kahn", "Gehweg": "Trottoir",
    "Park": "Grünanlage", "Mädchen": "Mädel",
}  # fmt: skip
PATTERN = re.compile(r"\b(" + "|".join(sorted(GLOSSARY, key=len, reverse=True)) + r")\b")


def renamed(line):
    return PATTERN.sub(lambda match: GLOSSARY[match[1]], line)


def lines(path):
    with gzip.open(path, "rt", encoding="utf8") as file:
        return file.read().splitlines()


def stream(data, garbage, seed):
    """Pairs as records; of `garbage` in 100 the correction is something else."""
    draw = random.Random(seed)
    pairs = list(zip(lines(data / "val.en.gz"), lines(data / "val.de.gz")))
    for number, (source, target) in enumerate(pairs):
        correction = renamed(target)
        if draw.random() < garbage / 100:
            kinds = ["a" * draw.randint(4, 30), source, draw.choice(pairs)[0], "ja", " ".join(["gut"] * 9)]
            correction = draw.choice(kinds)
        yield {"id": number, "source": source, "correction": correction}


def command_of(o, folder, name, records):
    """What learns from records that are written to a file, and the run that it makes."""
    path, out = folder / "stream.jsonl", folder / name
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf8")
    return [o.tidemill, "learn", o.run, "--from", str(path), "--out", str(out), "--json", *o.set], out


def run(o, folder, name, records, *more):
    command, out = command_of(o, folder, name, records)
    done = subprocess.run([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
    return json.loads(done.stdout), out


def killed(o, folder, records):
    """The same stream with SIGKILLs at random moments, each time continued: what its summary says."""
    command, out = command_of(o, folder, "killed", records)
    command += ["--set", "online.checkpoint_events=20"]
    moments, kills = random.Random(o.seed), 0
    while True:
        resume = ["--resume"] if (out / "checkpoints").exists() else []
        with subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                code = process.wait(moments.uniform(0.2, 1.6) if kills < o.kills else None)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                continue
        if code:
            raise SystemExit(f"the stream could not be continued after {kills} kills")
        return kills, json.loads((out / "summary.json").read_text())


def bleu(o, run, source, target):
    command = [o.tidemill, "eval", str(run), "--data", str(source), str(target)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
    return next(line.strip() for line in done.stdout.splitlines() if "BLEU" in line)


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", help="the run of recipes/multi30k.toml")
    p.add_argument("--data", type=pathlib.Path, required=True, help="the folder of Multi30k's files")
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary")
    p.add_argument("--set", action="append", default=[], help="a key of the recipe, for the runs that learn")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--kills", type=int, default=0, help="learn once more, killed so many times, and compare the bits")
    p.add_argument("--no-tests", action="store_true", help="leave out the translations of the test set")
    o = p.parse_args()
    o.set = [word for value in o.set for word in ("--set", value)]
    return o


def main():
    o = options()
    clean, bad = (list(stream(o.data, share, o.seed)) for share in (0, 1))
    touched = sum(r["correction"] != t for r, t in zip(clean, lines(o.data / "val.de.gz")))
    print(f"{len(clean)} corrections, {touched} with a word of the glossary")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        runs = {"static": ("--frozen",), "learned": (), "learned, 1 % garbage": ()}
        outs, summaries = {"before": pathlib.Path(o.run)}, {}
        for name, more in runs.items():
            summary, outs[name] = run(o, folder, name.replace(" ", "-"), bad if "garbage" in name else clean, *more)
            summaries[name] = summary
            f = summary["prequential"]
            print(
                f"{name:22} BLEU {f['bleu']:5.2f}  last 200 {f['sliding.bleu']:5.2f}  TER {f['ter']:5.2f}  R0 {f['r0']:.3f}"
                f"  R1 {f['r1']:.3f}  keystrokes {f['keystrokes']:.3f}  quarantined {summary['quarantined']}"
                f"  {1e3 * summary['wall_seconds'] / summary['events']:.1f} ms each",
                flush=True,
            )
        if o.kills:
            kills, summary = killed(o, folder, clean)
            same = all(summary[key] == summaries["learned"][key] for key in ("state_sha256", "events", "prequential", "labels"))
            print(f"killed {kills} times: {'the same bits and figures' if same else 'DIFFERENT'}", flush=True)
        if o.no_tests:
            return
        tests = {}
        for name, change in (("test 2016", str), ("test 2016, renamed", renamed)):
            source, target = folder / "test.en", folder / f"{name.replace(' ', '-')}.de"
            source.write_text("\n".join(lines(o.data / "test_2016_flickr.en.gz")) + "\n", encoding="utf8")
            text = "\n".join(change(line) for line in lines(o.data / "test_2016_flickr.de.gz")) + "\n"
            target.write_text(text, encoding="utf8")
            tests[name] = (source, target)
        for name, out in outs.items():
            if name != "static":
                for test, files in tests.items():
                    print(f"{name:22} {test}: {bleu(o, out, *files)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
