#!/usr/bin/env python3
"""The step of a text classifier with a recurrent layer beside PyTorch's, on one thread each.

    cargo build --release
    python bench/recurrent.py target/release/tidemill ../shared/data [--rounds 3]

The model is that of recipes/banking77-gru.toml, also with an LSTM and at a batch of 1: an embedding of 16384 rows of 64, dropout, a bidirectional layer of
128 units, dropout, a dense layer; Adam over all rows. Texts are cut off at 32 words. PyTorch is measured over packed sequences and over padded
ones (whose states run on into the padding: less work to arrange, another result), with its fused Adam; the faster counts.
Times are CPU time, since other programs disturb it less: of PyTorch the median of windows over 16 batches that are in memory, of Tidemill
what a run of twice the steps takes more, divided by the steps: with reading and shuffling the texts. Programs take turns; the
figure is the least of the rounds. Prints a table in Markdown.
"""

import argparse
import csv
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
import zlib

RECIPE = pathlib.Path(__file__).resolve().parents[1] / "recipes/banking77-gru.toml"
WORD = re.compile(r"[^\W_]+")
ROWS, LENGTH, UNITS, CLASSES = 16384, 32, 128, 77


def peer(data, kind, batch, packed):
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    with open(data / "banking77/train.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    names = sorted({label for _, label in rows})
    order = torch.randperm(len(rows)).tolist()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(ROWS, 64)
            layer = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
            self.layer = layer(64, UNITS, batch_first=True, bidirectional=True)
            self.dropout = nn.Dropout(0.3)
            self.dense = nn.Linear(2 * UNITS, CLASSES)

        def forward(self, ids, lengths):
            x = self.dropout(self.embedding(ids))
            if packed:
                x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            state = self.layer(x)[1]
            state = state[0] if kind == "lstm" else state
            return self.dense(self.dropout(torch.cat([state[0], state[1]], -1)))

    def made(k):
        chosen = [rows[i] for i in order[k * batch : (k + 1) * batch]]
        texts = [[zlib.crc32(w.encode()) % (ROWS - 1) + 1 for w in WORD.findall(t.lower())][:LENGTH] for t, _ in chosen]
        lengths = torch.tensor([len(t) for t in texts])
        ids = torch.zeros(batch, int(lengths.max()), dtype=torch.long)
        for row, text in zip(ids, texts):
            row[: len(text)] = torch.tensor(text)
        return ids, lengths, torch.tensor([names.index(label) for _, label in chosen])

    batches = [made(k) for k in range(16)]
    model, loss = Model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step(i):
        ids, lengths, labels = batches[i % 16]
        optimizer.zero_grad(set_to_none=True)
        loss(model(ids, lengths), labels).backward()
        optimizer.step()

    windows = []
    for window in range(16):
        start = time.process_time()
        for i in range(16):
            step(i)
        windows.append((time.process_time() - start) / 16 * 1e6)
    return sorted(windows[1:])[7]


def tidemill(program, data, kind, batch):
    text = re.sub("validation = .*\n", "", RECIPE.read_text()).replace("gru =", f"{kind} =")
    steps = 9600 // (batch + 4)
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder) / "recipe.toml"
        recipe.write_text(text)

        def cpu(steps):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            settings = [f"stop.steps={steps}", "batch.epochs=100", f"batch.batch_size={batch}"]
            command = [program.resolve(), "train", recipe, "--out", f"{folder}/run", "--force", "--threads", "1"]
            command += [part for setting in settings for part in ("--set", setting)]
            environment = {**os.environ, "TIDEMILL_DATA": str(data.resolve())}
            subprocess.run(command, capture_output=True, check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        return (cpu(2 * steps) - cpu(steps)) / steps * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        kind, batch, packed = options.peer
        print(peer(options.data, kind, int(batch), packed == "packed"))
        return

    def torch_step(kind, batch, form):
        own = [sys.executable, __file__, options.program, options.data, "--peer", kind, str(batch), form]
        return float(subprocess.run(own, capture_output=True, text=True, check=True).stdout)

    print("| layer | batch | Tidemill | PyTorch, packed | PyTorch, padded | ratio to the faster |\n| --- | --- | --- | --- | --- | --- |")
    for kind in ("gru", "lstm"):
        for batch in (32, 1):
            rounds = [
                (tidemill(options.program, options.data, kind, batch),
                 torch_step(kind, batch, "packed"), torch_step(kind, batch, "padded"))
                for _ in range(options.rounds)
            ]
            own, packed, padded = (min(column) for column in zip(*rounds))
            print(f"| `{kind}` | {batch} | {own:.0f} us | {packed:.0f} us | {padded:.0f} us | {min(packed, padded) / own:.2f} x |")


if __name__ == "__main__":
    main()
