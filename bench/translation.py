#!/usr/bin/env python3
"""Training of a translation model next to PyTorch: the same weights and losses first, then target tokens a second. See README.md.

    cargo build --release
    /path/to/venv/bin/python bench/translation.py runs/multi30k --source train.en.gz --target train.de.gz \\
        --check-source val.en.gz --check-target val.de.gz

The run is one of `encoder_decoder` with sinusoidal positions and shared tables, with two threads. Tidemill trains epochs of the
run's recipe without validation, and the time of an epoch that compiles nothing counts; PyTorch (eager, two threads,
`scaled_dot_product_attention`, fused AdamW, sentences of like length together, logits of real tokens only) trains as
long. Tokens are those of the target that are not padding. The order of the programs alternates.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=pathlib.Path, help="the folder of a run")
    p.add_argument("--source", required=True, help="what it was trained on, a sentence a line")
    p.add_argument("--target", required=True, help="its translations")
    p.add_argument("--check-source", required=True, help="other sentences, on which the losses are compared")
    p.add_argument("--check-target", required=True, help="their translations")
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--seconds", type=float, default=40.0, help="of one measurement of PyTorch")
    p.add_argument("--json", default=str(HERE / "translation-results.json"), help="where the results go")
    return p.parse_args()


def peer(o, what, source, target):
    return [sys.executable, str(HERE / "peers/translation_peer.py"), str(o.run), what, source, target]


def compare_losses(o):
    done = subprocess.run(peer(o, "loss", o.check_source, o.check_target), capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout)["loss"]
    command = [o.tidemill, "eval", str(o.run), "--data", o.check_source, o.check_target, "--beam", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours = json.loads(done.stdout.splitlines()[-1])["figures"]["loss"]
    print(f"loss of {o.check_target}: Tidemill {ours:.6f}, PyTorch {theirs:.6f}")
    if abs(ours - theirs) > 1e-4 * abs(theirs):
        raise SystemExit("the losses differ: these are not the same models")
    return {"tidemill": ours, "pytorch": theirs}


def own(o, tokens):
    """The second epoch of a training run of two."""
    recipe = re.sub(r"(?m)^validation\s*=.*\n", "", (o.run / "recipe.toml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        file, run = pathlib.Path(folder) / "recipe.toml", pathlib.Path(folder) / "run"
        file.write_text(recipe)
        command = [o.tidemill, "train", str(file), "--out", str(run), "--threads", "2", "--set", "batch.epochs=2"]
        subprocess.run(command, capture_output=True, text=True, check=True)
        ends = [json.loads(line)["wall_seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"Tidemill": tokens / (ends[1] - ends[0])}


def theirs(process, seconds):
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    found = {}
    while line := process.stdout.readline().strip():
        line = json.loads(line)
        found[f"PyTorch, {line['name']}"] = line["tokens_per_second"]
    return found


def main():
    o = options()
    results = {"losses": compare_losses(o), "rounds": []}
    command = peer(o, "train", o.source, o.target)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        about = json.loads(process.stdout.readline())
        results |= about
        for r in range(o.rounds):
            programs = [lambda: own(o, about["tokens"]), lambda: theirs(process, o.seconds)]
            for program in programs if r % 2 == 0 else programs[::-1]:
                load = os.getloadavg()[0]
                for name, rate in program().items():
                    results["rounds"].append({"program": name, "tokens_per_second": rate, "load": load})
                    print(f"{name:36} {rate:8.0f} target tokens/s, load {load:.1f}", flush=True)
        process.stdin.close()
    best = {}
    for r in results["rounds"]:
        best[r["program"]] = max(r["tokens_per_second"], best.get(r["program"], 0.0))
    for name, rate in best.items():
        print(f"best: {name:36} {rate:8.0f} target tokens/s, Tidemill {best['Tidemill'] / rate:.2f} times as fast")
    pathlib.Path(o.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
