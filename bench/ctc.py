"""The CTC loss with its gradient beside PyTorch's, on one thread each.

    pip install torch
    cargo build --release -p tidemill-cpu --example ctc
    python bench/ctc.py [--rounds 3]

From logits to their gradient, with log-softmax; the programs take turns, and the fastest time of each is printed.
"""

import argparse
import re
import subprocess
import time

import torch
import torch.nn.functional as F

PROGRAM = "target/release/examples/ctc"


def ours():
    printed = subprocess.run([PROGRAM], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"ctc (\d+) (\d+) (\d+) (\d+) ([\d.]+) ms", printed)
    return {tuple(map(int, sizes)): float(ms) for *sizes, ms in found}


def peer(batch, positions, classes, labels):
    logits = torch.zeros(batch, positions, classes, requires_grad=True)
    targets = torch.randint(1, classes, (batch, labels))
    lengths, counts = torch.full((batch,), positions), torch.full((batch,), labels)
    times = []
    for _ in range(15):
        logits.grad = None
        start = time.perf_counter()
        log_p = torch.log_softmax(logits, -1).transpose(0, 1)
        F.ctc_loss(log_p, targets, lengths, counts, reduction="mean", zero_infinity=True).backward()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    best = {}
    for _ in range(rounds):
        for sizes, ms in ours().items():
            for name, value in [("tidemill", ms), ("torch", peer(*sizes))]:
                best[sizes, name] = min(value, best.get((sizes, name), value))
    for sizes in dict.fromkeys(sizes for sizes, _ in best):
        own, other = best[sizes, "tidemill"], best[sizes, "torch"]
        batch, positions, classes, labels = sizes
        print(f"batch {batch}, {positions} positions, {classes} classes, {labels} labels: "
              f"tidemill {own:.3f} ms, torch {other:.3f} ms, {other / own:.1f} x")


if __name__ == "__main__":
    main()
