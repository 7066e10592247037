"""The model of recipes/multi30k.toml in PyTorch, with the weights of a run. See bench/translation.py.

    translation_peer.py RUN loss SOURCE TARGET              the mean loss of the pairs
    translation_peer.py RUN train SOURCE TARGET ROUNDS      answers each line of its input with a measurement of as many seconds
"""

import gzip
import json
import math
import pathlib
import random
import sys
import time
import tomllib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

torch.set_flush_denormal(True)


class Attention(nn.Module):
    """Queries from `x`, keys and values from `memory`, or both from `x`."""

    def __init__(self, units, heads, dropout, cross):
        super().__init__()
        self.heads, self.dropout, self.cross = heads, dropout, cross
        if cross:
            self.query, self.key_value = nn.Linear(units, units), nn.Linear(units, 2 * units)
        else:
            self.qkv = nn.Linear(units, 3 * units)
        self.output = nn.Linear(units, units)

    def forward(self, x, memory=None, mask=None, causal=False):
        if self.cross:
            parts = [self.query(x), *self.key_value(memory).chunk(2, -1)]
        else:
            parts = self.qkv(x).chunk(3, -1)
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout)
        return self.output(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, units, heads, hidden, dropout, attention_dropout, cross):
        super().__init__()
        self.attention = Attention(units, heads, attention_dropout, False)
        self.cross = Attention(units, heads, attention_dropout, True) if cross else None
        self.norms = nn.ModuleList(nn.LayerNorm(units) for _ in range(3 if cross else 2))
        self.up, self.down = nn.Linear(units, hidden), nn.Linear(hidden, units)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, mask, memory=None):
        if self.cross is None:
            x = x + self.drop(self.attention(self.norms[0](x), mask=mask))
        else:
            x = x + self.drop(self.attention(self.norms[0](x), causal=True))
            x = x + self.drop(self.cross(self.norms[1](x), memory, mask=mask))
        return x + self.drop(self.down(self.drop(F.relu(self.up(self.norms[-1](x))))))


class Model(nn.Module):
    def __init__(self, form, vocabulary, attention_dropout):
        super().__init__()
        units, dropout = form["units"], form.get("dropout", 0.0)
        block = lambda cross: Block(units, form["heads"], form["hidden"], dropout, attention_dropout, cross)
        self.table = nn.Embedding(vocabulary, units)
        self.encoder = nn.ModuleList(block(False) for _ in range(form["encoder"]))
        self.decoder = nn.ModuleList(block(True) for _ in range(form["decoder"]))
        self.norms = nn.ModuleList(nn.LayerNorm(units) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        unit = torch.arange(units)
        angle = torch.arange(form.get("length", 128))[:, None] / 10_000.0 ** (unit // 2 * 2 / units)
        self.register_buffer("places", torch.where(unit % 2 == 0, angle.sin(), angle.cos()), persistent=False)

    def embed(self, ids):
        return self.drop(self.table(ids) * math.sqrt(self.table.embedding_dim) + self.places[: ids.shape[1]])

    def forward(self, source, given, wanted, mask):
        """The sum of the losses of `wanted`, where that is not negative: logits are computed of those alone."""
        x = self.embed(source)
        for block in self.encoder:
            x = block(x, mask)
        memory, y = self.norms[0](x), self.embed(given)
        for block in self.decoder:
            y = block(y, mask, memory)
        real = wanted >= 0
        logits = F.linear(self.norms[1](y)[real], self.table.weight)
        return F.cross_entropy(logits, wanted[real], label_smoothing=0.1, reduction="sum")


def names(model, dropped):
    """The names that Tidemill has for the model's tensors, and the tensors."""
    first = 3 if dropped else 2
    found = {"layers.0.encode.layers.0.embedding.table": model.table.weight}

    def norm(path, of):
        found[f"{path}.layer_norm.gamma"], found[f"{path}.layer_norm.beta"] = of.weight, of.bias

    def linear(path, of):
        found[f"{path}.kernel"], found[f"{path}.bias"] = of.weight.T, of.bias

    for blocks, path in ((model.encoder, f"layers.0.encode.layers.{first}.repeat"), (model.decoder, "layers.2.repeat")):
        for i, block in enumerate(blocks):
            parts = [block.attention, block.cross] if block.cross else [block.attention]
            for at, part in enumerate(parts):
                norm(f"{path}.{i}.{at}.residual.layers.0", block.norms[at])
                for name, of in part.named_children():
                    linear(f"{path}.{i}.{at}.residual.layers.1.attention.{name}", of)
            base = f"{path}.{i}.{len(parts)}.residual.layers"
            norm(f"{base}.0", block.norms[-1])
            linear(f"{base}.1.dense", block.up)
            linear(f"{base}.{3 if dropped else 2}.dense", block.down)
    norm(f"layers.0.encode.layers.{first + 1}", model.norms[0])
    norm("layers.3", model.norms[1])
    return found


def load(model, checkpoint, dropped):
    """A checkpoint's weights: the averages."""
    w = load_file(checkpoint / "state.safetensors")
    w |= {k.removeprefix("average/"): v for k, v in w.items() if k.startswith("average/")}
    with torch.no_grad():
        for name, tensor in names(model, dropped).items():
            tensor.copy_(w[name].view_as(tensor))


def lines(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as f:
        return f.read().splitlines()


def batches(pairs, tokens, begin):
    """Pairs of like length together, padded to the longest of their batch."""
    order = sorted(range(len(pairs)), key=lambda i: max(map(len, pairs[i])))
    cut, found = [], []
    for i in order:
        if cut and (len(cut) + 1) * max(map(len, pairs[i])) > tokens:
            found.append(cut)
            cut = []
        cut.append(i)
    found.append(cut)
    pad = lambda rows, fill: nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], True, fill)
    result = []
    for cut in found:
        source, target = pad([pairs[i][0] for i in cut], 0), pad([pairs[i][1] for i in cut], -1)
        given = F.pad(target[:, :-1].clamp(min=0), (1, 0), value=begin)
        lengths = torch.tensor([len(pairs[i][0]) for i in cut])
        mask = (torch.arange(source.shape[1]) < lengths[:, None])[:, None, None, :]
        result.append((source, given, target, mask, int((target >= 0).sum())))
    return result


def training(model, batches):
    """A function that trains for so many seconds and says how many target tokens that were, and in how many seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98), fused=True)
    average = [p.detach().clone() for p in model.parameters()]
    order = random.Random(1)

    def run(seconds):
        model.train()
        tokens, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            *batch, real = order.choice(batches)
            (model(*batch) / real).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(average, list(model.parameters()), 0.001)
            tokens += real
        return tokens, time.perf_counter() - start

    return run


def main():
    run, what, source, target = pathlib.Path(sys.argv[1]), *sys.argv[2:5]
    torch.manual_seed(1)
    torch.set_num_threads(2)
    checkpoint = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    form = recipe["model"]["encoder_decoder"]
    tokenizer = Tokenizer.from_str(json.dumps(json.loads((checkpoint / "meta.json").read_text())["tokenizer"]))
    end, length = tokenizer.token_to_id("</s>"), form.get("length", 128)
    ids = lambda path: [e.ids[: length - 1] + [end] for e in tokenizer.encode_batch([l.strip() for l in lines(path)], add_special_tokens=False)]
    pairs = list(zip(ids(source), ids(target)))
    tokens = recipe["batch"]["batch_tokens"]
    cut = batches(pairs, tokens, tokenizer.token_to_id("<s>"))

    def build(attention_dropout):
        model = Model(form, tokenizer.get_vocab_size(), attention_dropout)
        load(model, checkpoint, form.get("dropout", 0.0) > 0)
        return model

    if what == "loss":
        model = build(0.0).eval()
        with torch.no_grad():
            total = sum(model(*batch).item() for *batch, _ in cut)
        print(json.dumps({"loss": total / sum(real for *_, real in cut), "torch": torch.__version__}))
        return
    dropout = form.get("dropout", 0.0)
    programs = {"dropout of attention too": training(build(dropout), cut), "no dropout of attention": training(build(0.0), cut)}
    print(json.dumps({"tokens": sum(real for *_, real in cut), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        for name, run in programs.items():
            run(1.0)
            tokens, seconds = run(float(line))
            print(json.dumps({"name": name, "tokens_per_second": tokens / seconds}), flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
