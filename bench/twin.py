#!/usr/bin/env python3
"""Trains the Keras twins of the image recipes, read from recipes/*.toml: the same model and settings, several seeds.

    python bench/twin.py [--recipes fashion-mlp,mnist-cnn] [--seeds 3] [--epochs N] [--samples N]
"""

import argparse
import json
import os
import pathlib
import sys
import time
import tomllib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import keras  # noqa: E402

from data import mnist  # noqa: E402

RECIPES = ["mnist-article", "fashion-mlp", "mnist-mlp", "mnist-cnn", "fashion-cnn"]


def make_layer(entry):
    """One entry of a recipe's `layers`; a key that this twin does not know is an error, not a silent difference."""
    ((kind, given),) = entry.items()
    options = dict(given)
    take = options.pop
    layers = keras.layers
    if kind == "flatten":
        layer = layers.Flatten()
    elif kind == "dense":
        layer = layers.Dense(take("units"), take("activation", None))
    elif kind == "conv2d":
        layer = layers.Conv2D(take("filters"), take("kernel"), padding=take("padding", "valid"), activation=take("activation", None))
    elif kind == "max_pool2d":
        layer = layers.MaxPooling2D(take("size"))
    elif kind == "dropout":
        layer = layers.Dropout(take("rate"))
    else:
        raise SystemExit(f"layer `{kind}` has no twin yet")
    if options:
        raise SystemExit(f"{kind}: no twin for {', '.join(options)}")
    return layer


def make_rate(rate, steps):
    if isinstance(rate, (int, float)):
        return rate
    cosine = dict(rate.pop("cosine", {}))
    start, warm, end = cosine.pop("start"), cosine.pop("warmup_steps", 0), cosine.pop("end", 0.0)
    if rate or cosine:
        raise SystemExit(f"learning rate: no twin for {rate or cosine}")
    warm = min(warm, steps // 2)  # Only a trial is so short that this matters.
    schedule = keras.optimizers.schedules.CosineDecay
    if warm:
        return schedule(0.0, steps - warm, alpha=end / start, warmup_target=start, warmup_steps=warm)
    return schedule(start, steps, alpha=end / start)


def make_optimizer(entry, steps):
    ((kind, options),) = entry.items()
    if kind != "adam" or set(options) != {"learning_rate"}:
        raise SystemExit(f"optimizer: no twin for {entry}")
    return keras.optimizers.Adam(make_rate(options["learning_rate"], steps))


def train(name, seed, epochs, samples):
    recipe = tomllib.loads((HERE.parent / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))
    training, batch, image = recipe["training"], recipe["batch"], recipe["model"]["input"]["image"]
    assert training["loss"] == "sparse_categorical_crossentropy"
    dataset = pathlib.PurePosixPath(batch["data"]["idx"]["images"]).parts[0]
    x, y = (a[:samples] for a in mnist("train", dataset))
    epochs, batch_size = epochs or batch["epochs"], batch["batch_size"]

    keras.utils.set_random_seed(seed)
    shape = (image["height"], image["width"], image["channels"])
    model = keras.Sequential([keras.Input(shape), *map(make_layer, recipe["model"]["layers"])])
    model.compile(make_optimizer(training["optimizer"], epochs * -(-len(y) // batch_size)),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], jit_compile=True)  # fmt: skip
    begin = time.perf_counter()
    history = model.fit(x, y, batch_size, epochs, verbose=0, validation_data=mnist("test", dataset))
    accuracy = [round(a * 100, 2) for a in history.history["val_accuracy"]]
    return {"recipe": name, "seed": seed, "epochs": epochs, "seconds": round(time.perf_counter() - begin, 1),
            "test_accuracy": accuracy[-1], "best_test_accuracy": max(accuracy)}  # fmt: skip


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--recipes", type=lambda s: s.split(","), default=RECIPES)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--epochs", type=int, help="instead of the recipe's")
    p.add_argument("--samples", type=int, help="only the first training images, for a trial")
    o = p.parse_args()
    for name in o.recipes:
        rows = []
        for seed in range(1, o.seeds + 1):
            rows.append(train(name, seed, o.epochs, o.samples))
            print(json.dumps(rows[-1]), flush=True)
        mean = sum(row["test_accuracy"] for row in rows) / len(rows)
        print(f"{name}: mean test accuracy {mean:.2f} %", flush=True)


if __name__ == "__main__":
    main()
