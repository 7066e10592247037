#!/usr/bin/env python3
"""A translation recipe trained in PyTorch from PyTorch's own random numbers, and its BLEU beside the runs of Tidemill. See README.md.

    python bench/translation_twin.py train runs/multi30k --source train.en.gz --target train.de.gz --out twin --seed 1
    python bench/translation_twin.py score runs/multi30k twin/seed-1 --source test.en.gz --target test.de.gz

`train` needs the run's `recipe.toml` and the tokenizer of its checkpoint, and nothing of its weights: the model, its
initial distributions, AdamW, the schedule, label smoothing, dropout, batches of like length and the average of the weights
are those of the recipe. It runs on a GPU where there is one. `score` translates with each of the folders' weights by
CTranslate2 (beam 5, length penalty 1), so that the same decoder is used for both, and prints BLEU of sacreBLEU.
"""

import argparse
import json
import math
import pathlib
import random
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
sys.path.insert(0, str(HERE))


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_subparsers(dest="what", required=True)
    train, score = what.add_parser("train"), what.add_parser("score")
    train.add_argument("run", type=pathlib.Path, help="the folder of a run")
    score.add_argument("runs", type=pathlib.Path, nargs="+", help="folders of runs, and folders that `train` wrote")
    for parser in (train, score):
        parser.add_argument("--source", required=True, help="sentences, a line each")
        parser.add_argument("--target", required=True, help="their translations")
    train.add_argument("--out", type=pathlib.Path, required=True, help="where `seed-N` goes")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--buckets", default="16,20,24,28,36,68", help="longest sequence of each, as `tidemill train` prints them")
    score.add_argument("--beam", type=int, default=5)
    score.add_argument("--threads", type=int, default=2)
    return p.parse_args()


def checkpoint_of(run):
    latest = run / "checkpoints" / "latest"
    return run / "checkpoints" / latest.read_text().strip() if latest.exists() else run


def initialize(model, units):
    """Glorot's uniform distribution for each of the parts of a projection, zeros for biases; tables of variance 1 / units."""
    import torch

    for name, value in model.named_parameters():
        if name == "table.weight":
            torch.nn.init.normal_(value, 0.0, units**-0.5)
        elif value.dim() == 2:
            parts = {"qkv": 3, "key_value": 2}.get(name.split(".")[-2], 1)
            for part in value.data.chunk(parts):
                torch.nn.init.xavier_uniform_(part)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(value)


def rate(schedule, step, steps):
    warm = schedule["warmup_steps"]
    if step < warm:
        return schedule["start"] * step / warm
    return schedule["start"] * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / (steps - warm)))


def epoch(pairs, bounds, tokens, shuffled):
    """Lists of pairs: in each bucket in a new order, and the batches of all buckets in one too."""
    rooms = [[] for _ in bounds]
    for i in shuffled.sample(range(len(pairs)), len(pairs)):
        longest = max(map(len, pairs[i]))
        rooms[next(b for b, bound in enumerate(bounds) if longest <= bound)].append(i)
    found = []
    for room, bound in zip(rooms, bounds):
        size = tokens // bound
        found += [room[i : i + size] for i in range(0, len(room), size)]
    shuffled.shuffle(found)
    return found


def train(o):
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from translation_peer import Model, batches, lines, names

    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint, recipe = checkpoint_of(o.run), tomllib.loads((o.run / "recipe.toml").read_text())
    form, batch, training = recipe["model"]["encoder_decoder"], recipe["batch"], recipe["training"]
    adam, smooth = training["optimizer"]["adamw"], training["average"]["ema"]
    schedule = adam["learning_rate"]["cosine"]
    kept = json.loads((checkpoint / "meta.json").read_text())["tokenizer"]
    tokenizer = Tokenizer.from_str(json.dumps(kept))
    end, begin, length = tokenizer.token_to_id("</s>"), tokenizer.token_to_id("<s>"), form.get("length", 128)
    cut = lambda e: e.ids[: length - 1] + [end]
    ids = lambda path: [cut(e) for e in tokenizer.encode_batch([l.strip() for l in lines(path)], add_special_tokens=False)]
    pairs = list(zip(ids(o.source), ids(o.target)))
    bounds = [int(b) for b in o.buckets.split(",")]
    torch.manual_seed(o.seed)
    shuffled = random.Random(o.seed)
    model = Model(form, tokenizer.get_vocab_size(), form.get("dropout", 0.0))
    initialize(model, form["units"])
    model.to(device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, 1.0, betas=(0.9, adam["beta2"]), eps=1e-7, weight_decay=adam.get("weight_decay", 4e-3), fused=True
    )
    average = [p.detach().clone() for p in parameters]
    epochs, steps, step = batch["epochs"], None, 0
    start = time.perf_counter()
    for e in range(epochs):
        order = epoch(pairs, bounds, batch["batch_tokens"], shuffled)
        steps = steps or epochs * len(order)
        total, real_tokens = torch.zeros((), device=device), 0
        for chosen in order:
            [(*tensors, real)] = batches([pairs[i] for i in chosen], 1 << 60, begin)
            optimizer.param_groups[0]["lr"] = rate(schedule, step, steps)
            loss = model(*(t.to(device, non_blocking=True) for t in tensors))
            (loss / real).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1.0 - min(smooth, (1.0 + step) / (10.0 + step)))
                total += loss
            real_tokens += real
        print(f"seed {o.seed}, epoch {e + 1}, {len(order)} steps, loss {total.item() / real_tokens:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    with torch.no_grad():
        for value, mean in zip(parameters, average):
            value.copy_(mean)
    out = o.out / f"seed-{o.seed}"
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: v.detach().cpu().contiguous() for n, v in names(model, form.get("dropout", 0.0) > 0).items()}, out / "state.safetensors")
    (out / "meta.json").write_text(json.dumps({"tokenizer": kept}))
    (out / "recipe.toml").write_text((o.run / "recipe.toml").read_text())


def score(o):
    import sacrebleu
    from decode import Peer
    from translation_peer import lines

    sources, references = lines(o.source), lines(o.target)
    for run in o.runs:
        with tempfile.TemporaryDirectory() as folder:
            given = argparse.Namespace(run=run, beam=o.beam, threads=o.threads)
            peer = Peer(given, checkpoint_of(run), pathlib.Path(folder))
            order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
            texts, _ = peer.translate([sources[i] for i in order], 32)
        back = dict(zip(order, texts))
        bleu = sacrebleu.metrics.BLEU()
        print(f"{run}: {bleu.corpus_score([back[i] for i in range(len(sources))], [references]).score:.2f} BLEU ({bleu.get_signature()})")


if __name__ == "__main__":
    o = options()
    sys.exit(train(o) if o.what == "train" else score(o))
