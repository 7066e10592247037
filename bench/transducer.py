"""The loss of a transducer (RNN-T) with its gradients beside PyTorch's joint network and torchaudio's `rnnt_loss`, on one thread each.

    pip install torch torchaudio
    cargo build --release -p tidemill-cpu --example transducer
    python bench/transducer.py [--rounds 3]

From what the joint network reads, `tanh(frames + written) kernel + bias`, to the gradients of all four; beside it torchaudio's loss alone, from
logits that are there to their gradient. The programs take turns, and the fastest time of each is printed, with the greatest difference of
the loss and the gradients of both from those in f64, relative to the greatest value of each.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile
import time

import numpy as np
import torch
import torchaudio.functional as F

PROGRAM = "target/release/examples/transducer"
NAMES = ["frames", "written", "kernel", "bias"]


def ours(folder):
    printed = subprocess.run([PROGRAM, folder], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"transducer (\d+) (\d+) (\d+) (\d+) (\d+) ([\d.]+) ms", printed)
    return {tuple(map(int, sizes)): float(ms) for *sizes, ms in found}


def timed(work, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def exact(x, targets):
    """The mean loss in f64, by the recursion over positions of all samples and numbers of labels."""
    logits = torch.tanh(x["frames"][:, :, None] + x["written"][:, None]) @ x["kernel"] + x["bias"]
    log_p = torch.log_softmax(logits, -1)
    labels = targets.long()[:, None, :, None].expand(-1, log_p.shape[1], -1, 1)
    blank, label = log_p[..., 0], log_p[:, :, :-1].gather(3, labels)[..., 0]
    before = None
    for t in range(log_p.shape[1]):
        row = [before[:, 0] + blank[:, t - 1, 0] if t else blank.new_zeros(len(blank))]
        for u in range(1, log_p.shape[2]):
            own = row[-1] + label[:, t, u - 1]
            row.append(torch.logaddexp(own, before[:, u] + blank[:, t - 1, u]) if t else own)
        before = torch.stack(row, 1)
    return -(before[:, -1] + blank[:, -1, -1]).mean()


def peer(folder, sizes):
    batch, positions, classes, labels, units = sizes
    shapes = {"frames": (batch, positions, units), "written": (batch, labels + 1, units), "kernel": (units, classes), "bias": (classes,)}
    read = lambda name: np.fromfile(pathlib.Path(folder) / f"{classes}.{name}", np.float32)
    x = {name: torch.from_numpy(read(name).reshape(shape)).requires_grad_() for name, shape in shapes.items()}
    targets = torch.from_numpy(read("labels").reshape(batch, labels).astype(np.int32))
    lengths, counts = (torch.full((batch,), n, dtype=torch.int32) for n in (positions, labels))

    def joint():
        hidden = torch.tanh(x["frames"][:, :, None] + x["written"][:, None])
        return torch.nn.functional.linear(hidden, x["kernel"].t(), x["bias"])

    def loss(logits):
        return F.rnnt_loss(logits, targets, lengths, counts, blank=0, reduction="mean")

    def whole():
        for value in x.values():
            value.grad = None
        loss(joint()).backward()

    logits = joint().detach().requires_grad_()

    def alone():
        logits.grad = None
        loss(logits).backward()

    times = {"torch + torchaudio": timed(whole), "torchaudio's loss alone": timed(alone)}
    found = {"loss": loss(joint()).detach(), **{"d" + name: x[name].grad for name in NAMES}}
    precise = {name: value.detach().double().requires_grad_() for name, value in x.items()}
    want = exact(precise, targets)
    want.backward()
    wanted = {"loss": want.detach(), **{"d" + name: precise[name].grad for name in NAMES}}
    worst = [0.0, 0.0]
    for name, want in wanted.items():
        want = want.numpy().ravel()
        for i, value in enumerate([read(name), found[name].numpy().ravel()]):
            worst[i] = max(worst[i], float(np.abs(value - want).max() / np.abs(want).max()))
    return times, worst


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    best, differences = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for sizes, ms in ours(folder).items():
                times, differences[sizes] = peer(folder, sizes)
                for name, value in [("tidemill", ms), *times.items()]:
                    best[sizes, name] = min(value, best.get((sizes, name), value))
    for sizes, difference in differences.items():
        own = best[sizes, "tidemill"]
        others = [f"{name} {ms:.2f} ms, {ms / own:.1f} x" for (s, name), ms in best.items() if s == sizes and name != "tidemill"]
        batch, positions, classes, labels, units = sizes
        print(f"batch {batch}, {positions} positions, {classes} classes, {labels} labels, {units} units: "
              f"tidemill {own:.2f} ms; {'; '.join(others)}; differences from f64 {difference[0]:.1e} and {difference[1]:.1e}")


if __name__ == "__main__":
    main()
