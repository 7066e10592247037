"""What averages, metrics and logs cost: the time of a step of `mnist-cnn`, batch 128, with all of them on beside the same without. Runs in turns, each
time the difference of two runs of another number of steps, so that start and end do not count.

`TIDEMILL_DATA=../shared/data python bench/everything.py --rounds 5`
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ON = [
    "training.average={ema=0.999}",
    'training.metrics=["accuracy", "top_5", "f1_macro", "cohen_kappa", "log_loss", "ece"]',
    "training.spikes={}",
    "log.every_steps=10",
    "log.csv=true",
    "log.tensorboard=true",
    "log.histograms=1",
    "log.images=8",
]


def seconds(program, steps, sets):
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = [program, "train", ROOT / "recipes/mnist-cnn.toml", "--out", run]
        for one in [f"stop.steps={steps}", "batch.batch_size=128", *sets]:
            command += ["--set", one]
        subprocess.run([str(part) for part in command], capture_output=True, check=True)
        return json.loads((run / "summary.json").read_text())["wall_seconds"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--tidemill", default=ROOT / "target/release/tidemill")
    p.add_argument("--rounds", type=int, default=5)
    args = p.parse_args()
    step = lambda sets: (seconds(args.tidemill, 430, sets) - seconds(args.tidemill, 30, sets)) / 400
    ratios = []
    for _ in range(args.rounds):
        plain, full = step([]), step(ON)
        ratios.append(full / plain)
        print(f"{1e3 * plain:.3f} ms, with all on {1e3 * full:.3f} ms: {100 * (ratios[-1] - 1):+.1f} %", flush=True)
    print(f"median {100 * (statistics.median(ratios) - 1):+.1f} %")


if __name__ == "__main__":
    main()
