"""nanoGPT's model of characters in PyTorch, as the recipes have it: `text_peer.py eager|compile` answers compare.py's
requests, `text_peer.py attention` times scaled_dot_product_attention on one thread and prints a JSON line a shape."""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from worker import Worker

torch.set_flush_denormal(True)

VOCABULARY = 65
# units, heads, blocks, context
SIZES = {"small": (128, 4, 4, 64), "large": (384, 6, 6, 256)}
# heads, batch, context, values of a head, causal: as in crates/cpu/examples/attention.rs
ATTENTIONS = [(4, 12, 64, 32, True), (6, 4, 256, 64, True), (8, 1, 1024, 64, False), (8, 1, 1024, 64, True)]


class Block(nn.Module):
    def __init__(self, units, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(units), nn.LayerNorm(units)
        self.qkv = nn.Linear(units, 3 * units, bias=False)
        self.output = nn.Linear(units, units, bias=False)
        self.up = nn.Linear(units, 4 * units, bias=False)
        self.down = nn.Linear(4 * units, units, bias=False)

    def forward(self, x):
        batch, steps, units = x.shape
        parts = self.qkv(self.norm1(x)).split(units, 2)
        q, k, v = (p.view(batch, steps, self.heads, units // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).reshape(batch, steps, units))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    def __init__(self, units, heads, blocks, context):
        super().__init__()
        self.table, self.places = nn.Embedding(VOCABULARY, units), nn.Embedding(context, units)
        self.blocks = nn.Sequential(*(Block(units, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(units)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * blocks) if last else 0.02)

    def forward(self, tokens, targets):
        x = self.table(tokens) + self.places.weight
        logits = F.linear(self.norm(self.blocks(x)), self.table.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def build(job, compiled, threads):
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    size = SIZES[job["model"]]
    model = Model(*size)
    kernels = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": kernels, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, 1e-3, betas=(0.9, 0.99), fused=True)
    loss_of = torch.compile(model, dynamic=False) if compiled else model
    texts = torch.randint(VOCABULARY, (16, job["batch_size"], size[3] + 1))
    batches = [(t[:, :-1].contiguous(), t[:, 1:].contiguous()) for t in texts]
    position = 0

    def run(steps):
        nonlocal position
        torch.set_num_threads(threads)
        for _ in range(steps):
            loss = loss_of(*batches[position])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            position = (position + 1) % len(batches)
        return steps, loss.item()

    return run


def variants(mode):
    def of_job(job):
        torch._dynamo.reset()
        return {f"{mode} {threads} threads": lambda t=threads: build(job, mode == "compile", t) for threads in (1, 2)}

    return of_job


def least(run, seconds):
    """CPU seconds of one call, the least of many."""
    run()
    best, calls, begin = math.inf, 0, time.perf_counter()
    while calls < 5 or time.perf_counter() - begin < seconds:
        start = time.thread_time()
        run()
        best, calls = min(best, time.thread_time() - start), calls + 1
    return best


def attention(heads, batch, steps, dim, causal):
    torch.set_num_threads(1)
    # as a model has them: parts of one product's rows
    parts = torch.randn(batch, steps, 3, heads, dim)
    q, k, v = (parts[:, :, i].transpose(1, 2).detach().requires_grad_() for i in range(3))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    dy = torch.randn_like(y)
    with torch.no_grad():
        forward = least(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal), 1.0)
    # by the thread that calls, whose time is taken: small graphs on a CPU run there
    backward = least(lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True), 1.0)
    shape = {"heads": heads, "batch": batch, "time": steps, "dim": dim, "causal": causal}
    return shape | {"forward_us": forward * 1e6, "backward_us": backward * 1e6}


if __name__ == "__main__":
    if sys.argv[1] == "attention":
        for shape in ATTENTIONS:
            print(json.dumps(attention(*shape)), flush=True)
    else:
        Worker(variants(sys.argv[1]), {"torch": torch.__version__}).serve()
