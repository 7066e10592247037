"""A training step of the model of recipes/digits-streaming.toml beside the same in PyTorch, at one batch.

    pip install torch
    cargo build --release
    python bench/speech.py [--rounds 3] [--threads 2]

32 sounds of 5 s (125 positions of 160 values), 6 blocks of 192 units, the CTC loss of 5 labels, gradients clipped, AdamW. PyTorch in three forms: its
conv1d, windows times a matrix, and both compiled. The programs take turns; the fastest step of each is printed.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH, TIME, VALUES, UNITS, LAYERS, KERNEL, OUTPUTS, LABELS = 32, 125, 160, 192, 6, 5, 15, 5


class Block(torch.nn.Module):
    def __init__(self, windows):
        super().__init__()
        self.norm = torch.nn.LayerNorm(UNITS)
        self.windows = windows
        if windows:
            self.conv = torch.nn.Linear(KERNEL * UNITS, UNITS)
        else:
            self.conv = torch.nn.Conv1d(UNITS, UNITS, KERNEL)
        self.dense = torch.nn.Linear(UNITS, UNITS)
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, x):
        y = self.norm(x)
        if self.windows:
            y = F.pad(y, (0, 0, KERNEL - 1, 0))
            y = torch.cat([y[:, i:i + x.shape[1]] for i in range(KERNEL)], -1)
            y = self.conv(y)
        else:
            y = self.conv(F.pad(y.transpose(1, 2), (KERNEL - 1, 0))).transpose(1, 2)
        return x + self.drop(self.dense(F.relu(y)))


def twin(windows, compiled):
    model = torch.nn.Sequential(torch.nn.Linear(VALUES, UNITS), torch.nn.Dropout(0.1), *[Block(windows) for _ in range(LAYERS)],
                                torch.nn.LayerNorm(UNITS), torch.nn.Linear(UNITS, OUTPUTS))
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    x = torch.randn(BATCH, TIME, VALUES)
    labels = torch.randint(1, OUTPUTS, (BATCH, LABELS))
    lengths, counts = torch.full((BATCH,), TIME), torch.full((BATCH,), LABELS)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        optimizer.zero_grad()
        log_p = torch.log_softmax(run(x), -1).transpose(0, 1)
        F.ctc_loss(log_p, labels, lengths, counts, zero_infinity=True).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return min(times[2:]) * 1e3


def ours(threads):
    recipe = (ROOT / "recipes/digits-streaming.toml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([ROOT / "target/release/tidemill", "data", "connected-digits", "--out", folder / "digits", "--train", "40", "--test", "8"],
                       check=True, capture_output=True)
        (folder / "speech.toml").write_text(recipe.replace("batch_tokens = 4096", f"batch_size = {BATCH}"))
        command = [ROOT / "target/release/tidemill", "bench", folder / "speech.toml", "--json", "--threads", str(threads),
                   "--set", "audio.seconds=5", "--batch-size", str(BATCH)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        found = json.loads(line)
    return found["microseconds_per_step"] / 1e3


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    best = {}
    for _ in range(given.rounds):
        found = {"tidemill": ours(given.threads)}
        for windows in [False, True]:
            for compiled in [False, True]:
                name = f"torch, {'windows' if windows else 'conv1d'}{', compiled' if compiled else ''}"
                found[name] = twin(windows, compiled)
        for name, value in found.items():
            best[name] = min(value, best.get(name, value))
    frames = BATCH * TIME * 4
    for name, value in sorted(best.items(), key=lambda item: item[1]):
        print(f"{name:28} {value:8.1f} ms a step, {frames / value:8.0f} frames of 10 ms a millisecond, {value / best['tidemill']:.2f} x")


if __name__ == "__main__":
    main()
