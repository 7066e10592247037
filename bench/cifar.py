"""The whole job of training ResNet-20 on the 10,000 JPEG files of the CIFAR subset, in Tidemill and in PyTorch: from the start of the
process to weights on disk, validation after each epoch included, with crops and flips. PyTorch takes the number of workers with which its first epoch
is the fastest.

`TIDEMILL_DATA=../shared/data python bench/cifar.py --seeds 1,2,3 --epochs 30`
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def torch(folder, epochs, seed, workers, out):
    peers = ROOT / "bench/peers"
    command = [sys.executable, "cifar_torch.py", folder, epochs, seed, workers, out]
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=peers, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])["accuracy"]


def tidemill(program, folder, epochs, seed, out):
    sides = {"data": "train", "validation": "test"}
    sets = [f"batch.{key}.image_directory.path={json.dumps(str(folder))}" for key in sides]
    sets += [f'batch.{key}.image_directory.root="{side}"' for key, side in sides.items()]
    sets += [f"batch.epochs={epochs}", f"training.seed={seed}"]
    command = [program, "train", ROOT / "recipes/cifar-resnet.toml", "--out", out]
    command += [part for one in sets for part in ("--set", one)]
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], capture_output=True, check=True)
    took = time.perf_counter() - start
    return took, json.loads((pathlib.Path(out) / "summary.json").read_text())["validation"]["accuracy"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--tidemill", default=ROOT / "target/release/tidemill")
    p.add_argument("--seeds", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2, 3])
    p.add_argument("--epochs", type=int, default=30)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        archive = pathlib.Path(os.environ["TIDEMILL_DATA"]) / "cifar10_jpg_subset/cifar10_jpg_subset.tar.gz"
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        images = folder / "cifar10_jpg_subset"
        tries = {workers: torch(images, 1, 1, workers, folder / "w.pt")[0] for workers in (0, 1, 2)}
        workers = min(tries, key=tries.get)
        print(f"PyTorch, one epoch: {', '.join(f'{n} workers {s:.1f} s' for n, s in tries.items())}", flush=True)
        rows = []
        for seed in args.seeds:
            ours = tidemill(args.tidemill, images, args.epochs, seed, folder / f"run{seed}")
            theirs = torch(images, args.epochs, seed, workers, folder / "w.pt")
            rows.append((ours, theirs))
            print(
                f"seed {seed}: Tidemill {ours[0]:.1f} s, {100 * ours[1]:.2f} %; "
                f"PyTorch {theirs[0]:.1f} s, {100 * theirs[1]:.2f} %; {theirs[0] / ours[0]:.2f} x",
                flush=True,
            )
        mean = lambda side, what: sum(row[side][what] for row in rows) / len(rows)
        print(
            f"mean: Tidemill {mean(0, 0):.1f} s, {100 * mean(0, 1):.2f} %; PyTorch {mean(1, 0):.1f} s, "
            f"{100 * mean(1, 1):.2f} %; {mean(1, 0) / mean(0, 0):.2f} x"
        )


if __name__ == "__main__":
    main()
