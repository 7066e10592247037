#!/usr/bin/env python3
"""Filter banks (Kaldi's fbank) of Tidemill, torchaudio and kaldi-native-fbank, in one run on one thread.

    pip install torch torchaudio kaldi-native-fbank numpy
    cargo build --release -p tidemill-audio --example features
    python bench/fbank.py [--seconds 60] [--rounds 7]

The programs take turns; each figure is the least of its rounds. Their features are compared first.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

os.environ["OMP_NUM_THREADS"] = "1"

import kaldi_native_fbank as knf
import numpy as np
import torch

torch.version.cuda = None  # torchaudio refuses another CUDA than its own; nothing here uses one
import torchaudio.compliance.kaldi as kaldi

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/examples/features"
CASES = [(16000, 80), (8000, 40)]


def by_torchaudio(x, rate, bins):
    return kaldi.fbank(x[None] * 32768, sample_frequency=rate, num_mel_bins=bins, dither=0.0)


def by_knf(x, rate, bins):
    options = knf.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither, options.mel_opts.num_bins = rate, 0, bins
    online = knf.OnlineFbank(options)
    online.accept_waveform(rate, x)
    online.input_finished()
    return online


def tidemill(x, rate, bins, *arguments):
    spec = json.dumps({"fbank": {"sample_rate": rate, "bins": bins}})
    command = [PROGRAM, spec, *arguments]
    return subprocess.run(command, input=x.tobytes(), stdout=subprocess.PIPE, check=True).stdout


def microseconds(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| Hz, filters | Tidemill | torchaudio | kaldi-native-fbank | ratio to torchaudio |\n| --- | --- | --- | --- | --- |")
    for rate, bins in CASES:
        x = np.random.default_rng(1).standard_normal(options.seconds * rate).astype(np.float32) * 0.1
        wave, values = torch.from_numpy(x), (x * 32768).tolist()
        theirs = by_torchaudio(wave, rate, bins).numpy()
        ours = np.frombuffer(tidemill(x, rate, bins), np.float32).reshape(theirs.shape)
        # Where all but nothing passes a filter, both are some 1e-3 from the features in f64.
        differences = np.abs(ours - theirs)
        assert np.median(differences) < 1e-5 and (differences > 1e-3).mean() < 1e-4, differences.max()
        times = {"tidemill": [], "torchaudio": [], "knf": []}
        for _ in range(options.rounds):
            # A round of the program is as many inner ones, so that each has warm caches.
            times["tidemill"].append(float(tidemill(x, rate, bins, "--time", "5")))
            times["torchaudio"].append(min(microseconds(lambda: by_torchaudio(wave, rate, bins)) for _ in range(5)))
            times["knf"].append(min(microseconds(lambda: by_knf(values, rate, bins)) for _ in range(2)))
        least = {name: min(t) / len(theirs) for name, t in times.items()}
        figures = [f"{least[name]:.2f} us" for name in times]
        print(f"| {rate}, {bins} | {' | '.join(figures)} | {least['torchaudio'] / least['tidemill']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
