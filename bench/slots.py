"""The update of Adam with 8-bit slots beside that of bitsandbytes and PyTorch's fused one, on one thread each.

    pip install torch bitsandbytes
    cargo build --release -p tidemill-cpu --example kernels
    python bench/slots.py [--rounds 3]

Each program updates a tensor of 2^20 and of 2^23 elements from a finished gradient; the programs take turns, and the fastest time of each is
printed.
"""

import argparse
import re
import subprocess
import time

import bitsandbytes
import torch

SIZES = [1 << 20, 8 << 20]
KERNELS = "target/release/examples/kernels"


def peer(make, size):
    """Milliseconds of the fastest of some steps."""
    parameter = torch.nn.Parameter(torch.randn(size))
    parameter.grad = torch.randn(size)
    optimizer = make([parameter])
    times = []
    for _ in range(8):
        start = time.perf_counter()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return min(times[2:]) * 1e3


def ours():
    """Milliseconds by name and size, as the example measures them."""
    printed = subprocess.run([KERNELS, "optimize adam"], check=True, capture_output=True, text=True)
    found = {}
    for line in printed.stdout.splitlines():
        match = re.match(r"optimize (adam.*?) (\d+) +([\d.]+) us", line)
        if match and int(match[2]) in SIZES:
            found[f"tidemill {match[1]}", int(match[2])] = float(match[3]) / 1e3
    return found


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    peers = {
        "bitsandbytes Adam8bit": lambda p: bitsandbytes.optim.Adam8bit(p, lr=1e-6),
        "torch Adam, fused": lambda p: torch.optim.Adam(p, lr=1e-6, fused=True),
    }
    best = {}
    for _ in range(rounds):
        found = ours()
        for name, make in peers.items():
            found.update({(name, size): peer(make, size) for size in SIZES})
        for key, value in found.items():
            best[key] = min(value, best.get(key, value))
    for (name, size), value in sorted(best.items()):
        print(f"{name:24} {size:>9} {value:8.2f} ms")


if __name__ == "__main__":
    main()
