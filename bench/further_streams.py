"""Streams that no default was chosen on: small datasets that come with River, and its generators."""

import itertools

from river import datasets
from river.datasets import synth


def turns(make, concepts, events):
    """The concepts one after the other, so many events each."""
    return itertools.chain.from_iterable(itertools.islice(iter(make(c)), events) for c in concepts)


def first(dataset, events):
    return itertools.islice(iter(dataset), events)


def trump():
    """Polls, without the day's number, which alone tells much."""
    for x, y in datasets.TrumpApproval():
        yield {k: v for k, v in x.items() if k != "ordinal_date"}, y


EVENTS = {
    "bananas": lambda: iter(datasets.Bananas()),
    "phish1250": lambda: iter(datasets.Phishing()),
    "segments": lambda: iter(datasets.ImageSegments()),
    "trump": trump,
    "agrawal": lambda: turns(lambda f: synth.Agrawal(classification_function=f, seed=42), (0, 4, 8), 15_000),
    "led": lambda: first(
        synth.LEDDrift(seed=1, noise_percentage=0.1, irrelevant_features=True, n_drift_features=4), 30_000
    ),
    "waveform": lambda: first(synth.Waveform(seed=42, has_noise=True), 30_000),
    "randomtree": lambda: first(synth.RandomTree(seed_tree=42, seed_sample=42, n_classes=4), 30_000),
    "sine": lambda: turns(lambda f: synth.Sine(classification_function=f, seed=42 + f), (0, 1, 2, 3), 8_000),
    "mixed": lambda: turns(lambda f: synth.Mixed(classification_function=f, seed=42 + f), (0, 1, 0, 1), 8_000),
    "friedman": lambda: first(synth.FriedmanDrift(seed=42, position=(10_000, 15_000, 20_000)), 30_000),
    "planes": lambda: first(synth.Planes2D(seed=42), 20_000),
    "mv": lambda: first(synth.Mv(seed=42), 20_000),
}
REGRESSION = {"trump", "friedman", "planes", "mv"}


def table(name):
    """The header and the rows of one of them, label last."""
    names = list(next(EVENTS[name]())[0])
    rows = ([*(x[k] for k in names), int(y) if isinstance(y, bool) else y] for x, y in EVENTS[name]())
    return [*(str(k).replace(" ", "_") for k in names), "label"], rows


FURTHER = {name: (lambda name=name: table(name)) for name in EVENTS}
