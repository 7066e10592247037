#!/usr/bin/env python3
"""Beam search of a translation model next to CTranslate2, in f32 on the same weights: outputs, then time. See README.md.

    cargo build --release && cargo build --release -p tidemill-train --example decode
    /path/to/venv/bin/python bench/decode.py runs/multi30k --data test_2016_flickr.en.gz

The run is one of `encoder_decoder` with sinusoidal positions and shared tables. Both translate all sentences with a beam of 5:
32 sentences at a time and one at a time. A figure is the best of the rounds, in sentences a second and CPU milliseconds a
sentence; the order of the programs alternates.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=pathlib.Path, help="the folder of a run")
    p.add_argument("--data", type=pathlib.Path, required=True, help="sentences, a line each")
    p.add_argument("--tidemill", default=str(ROOT / "target/release/tidemill"), help="the binary")
    p.add_argument("--example", default=str(ROOT / "target/release/examples/decode"), help="the example's binary")
    p.add_argument("--lines", type=int, help="only the first ones")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--beam", type=int, default=5)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--json", default=str(HERE / "decode-results.json"), help="where the results go")
    return p.parse_args()


def weights(checkpoint):
    """The model's tensors: the averages where there are some."""
    from safetensors.numpy import load_file

    tensors = load_file(checkpoint / "state.safetensors")
    averages = {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    return tensors | averages


def sinusoids(length, units):
    unit = np.arange(units)
    angle = np.arange(length)[:, None] / 10_000.0 ** (unit // 2 * 2 / units)
    return np.where(unit % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def convert(run, checkpoint, vocabulary, special, to):
    """The run's weights as a model of CTranslate2."""
    import tomllib

    from ctranslate2.specs import TransformerSpec

    form = tomllib.loads((run / "recipe.toml").read_text())["model"]["encoder_decoder"]
    w = weights(checkpoint)
    dropped = form.get("dropout", 0) > 0
    spec = TransformerSpec.from_config((form["encoder"], form["decoder"]), form["heads"], pre_norm=True)
    table = w["layers.0.encode.layers.0.embedding.table"]

    def norm(to, path):
        to.gamma, to.beta = w[f"{path}.layer_norm.gamma"], w[f"{path}.layer_norm.beta"]

    def linear(to, path):
        to.weight, to.bias = np.ascontiguousarray(w[f"{path}.kernel"].T), w[f"{path}.bias"]

    def attention(to, path, parts):
        norm(to.layer_norm, f"{path}.residual.layers.0")
        for place, part in zip(to.linear, parts):
            linear(place, f"{path}.residual.layers.1.attention.{part}")

    def dense(to, path):
        norm(to.layer_norm, f"{path}.residual.layers.0")
        linear(to.linear_0, f"{path}.residual.layers.1.dense")
        linear(to.linear_1, f"{path}.residual.layers.{3 if dropped else 2}.dense")

    # Embedding, positions, dropout where there is some, blocks, norm.
    blocks, last = (3, 4) if dropped else (2, 3)
    positions = sinusoids(form.get("length", 128), form["units"])
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    spec.encoder.position_encodings.encodings = spec.decoder.position_encodings.encodings = positions
    for i, layer in enumerate(spec.encoder.layer):
        path = f"layers.0.encode.layers.{blocks}.repeat.{i}"
        attention(layer.self_attention, f"{path}.0", ["qkv", "output"])
        dense(layer.ffn, f"{path}.1")
    norm(spec.encoder.layer_norm, f"layers.0.encode.layers.{last}")
    for i, layer in enumerate(spec.decoder.layer):
        path = f"layers.2.repeat.{i}"
        attention(layer.self_attention, f"{path}.0", ["qkv", "output"])
        attention(layer.attention, f"{path}.1", ["query", "key_value", "output"])
        dense(layer.ffn, f"{path}.2")
    norm(spec.decoder.layer_norm, "layers.3")
    # Tokens are numbers to CTranslate2.
    names = [str(i) for i in range(vocabulary)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = spec.config.decoder_start_token = str(special["begin"])
    spec.config.eos_token, spec.config.unk_token = str(special["end"]), str(special["unknown"])
    spec.config.add_source_eos = spec.config.add_source_bos = False
    spec.validate()
    to.mkdir()
    spec.save(str(to))
    return form.get("length", 128)


class Peer:
    """CTranslate2 on the tokens of the sentences."""

    def __init__(self, o, checkpoint, folder):
        import ctranslate2
        from tokenizers import Tokenizer

        kept = json.loads((checkpoint / "meta.json").read_text())["tokenizer"]
        self.tokenizer = Tokenizer.from_str(json.dumps(kept))
        known = self.tokenizer.token_to_id
        special = {"begin": known("<s>"), "end": known("</s>"), "unknown": known("<unk>")}
        vocabulary = self.tokenizer.get_vocab_size()
        self.length = convert(o.run, checkpoint, vocabulary, special, folder / "ct2")
        self.end, self.beam = str(special["end"]), o.beam
        self.translator = ctranslate2.Translator(
            str(folder / "ct2"), device="cpu", compute_type="float32", inter_threads=1, intra_threads=o.threads
        )
        self.version = ctranslate2.__version__

    def encode(self, line):
        ids = self.tokenizer.encode(line.strip(), add_special_tokens=False).ids
        return [str(i) for i in ids[: self.length - 1]] + [self.end]

    def decode(self, tokens):
        return self.tokenizer.decode([int(t) for t in tokens])

    def translate(self, lines, batch):
        """Translations and seconds a request; tokenization and its reverse are in them, as in Tidemill's."""
        texts, times = [None] * len(lines), []
        parts = [range(i, min(i + batch, len(lines))) for i in range(0, len(lines), batch)]
        for part in parts:
            start = time.perf_counter()
            sources = [self.encode(lines[i]) for i in part]
            # As Tidemill bounds a text: twice its source and some more.
            most = max(2 * len(s) + 9 for s in sources)
            found = self.translator.translate_batch(
                sources, beam_size=self.beam, length_penalty=1.0, max_batch_size=batch, max_decoding_length=most
            )
            for i, result in zip(part, found):
                texts[i] = self.decode(result.hypotheses[0])
            times.append(time.perf_counter() - start)
        return texts, times

    def measure(self, lines, batch):
        # Sentences of like length together, as Tidemill does where it is given all of them.
        order = sorted(range(len(lines)), key=lambda i: len(lines[i])) if batch > 1 else range(len(lines))
        given = [lines[i] for i in order]
        self.translate(given[: 2 * batch], batch)
        cpu, start = time.process_time(), time.perf_counter()
        texts, times = self.translate(given, batch)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        back = [None] * len(lines)
        for i, text in zip(order, texts):
            back[i] = text
        return back, figures(len(lines), wall, cpu, times)


def figures(lines, wall, cpu, times):
    times = sorted(times)
    return {
        "sentences_per_second": lines / wall,
        "ms": 1e3 * wall / lines,
        "cpu_ms": 1e3 * cpu / lines,
        "median_ms": 1e3 * times[len(times) // 2],
    }


def own(o, file, batch):
    """The second pass of the example, in which no plan is compiled."""
    # All lines at once: Tidemill itself works on 32 sentences of like length at a time.
    command = [o.example, str(o.run), str(file), str(batch if batch == 1 else 1_000_000), str(o.beam), str(o.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = done.stderr.strip().splitlines()[-1]
    ms, cpu, median = (float(x) for x in re.search(r": ([\d.]+) ms a sentence, ([\d.]+) ms of CPU.*median ([\d.]+)", last).groups())
    return done.stdout.splitlines(), {"sentences_per_second": 1e3 / ms, "ms": ms, "cpu_ms": cpu, "median_ms": median}


def predicted(o, file):
    command = [o.tidemill, "predict", str(o.run), "--data", str(file), "--beam", str(o.beam), "--threads", str(o.threads)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def main():
    o = options()
    opened = gzip.open if o.data.suffix == ".gz" else open
    with opened(o.data, "rt", encoding="utf-8") as f:
        lines = f.read().splitlines()[: o.lines]
    checkpoint = o.run / "checkpoints" / (o.run / "checkpoints" / "latest").read_text().strip()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file = folder / "lines.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        peer = Peer(o, checkpoint, folder)
        theirs, _ = peer.translate(lines, 32)
        ours = predicted(o, file)
        same = sum(a.strip() == b.strip() for a, b in zip(ours, theirs)) / len(lines)
        print(f"equal outputs: {100 * same:.2f} % of {len(lines)} sentences")
        different = [(a, b) for a, b in zip(ours, theirs) if a.strip() != b.strip()]
        for a, b in different[:3]:
            print(f"  {a!r}\n  {b!r}")
        results = {"equal": same, "ctranslate2": peer.version, "sentences": len(lines), "rounds": []}
        for r in range(o.rounds):
            for batch in (32, 1):
                programs = [("tidemill", lambda: own(o, file, batch)), ("ctranslate2", lambda: peer.measure(lines, batch))]
                for name, run in programs if r % 2 == 0 else programs[::-1]:
                    load = os.getloadavg()[0]
                    _, found = run()
                    results["rounds"].append({"program": name, "batch": batch, "load": load} | found)
                    print(f"batch {batch:2} {name:12} {found['sentences_per_second']:7.1f} sentences/s, {found['ms']:7.3f} ms "
                          f"({found['cpu_ms']:.3f} ms of CPU) a sentence, load {load:.1f}")
    for batch in (32, 1):
        for name in ("tidemill", "ctranslate2"):
            mine = [r for r in results["rounds"] if r["batch"] == batch and r["program"] == name]
            if not mine:
                continue
            best = min(mine, key=lambda r: r["ms"])
            cpu = min(r["cpu_ms"] for r in mine)
            print(f"best of {len(mine)}: batch {batch:2} {name:12} {best['sentences_per_second']:7.1f} sentences/s, "
                  f"{best['ms']:.3f} ms wall-clock, {cpu:.3f} ms of CPU a sentence")
    pathlib.Path(o.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
