#!/usr/bin/env python3
"""The Keras twins of the image recipes: the same models and settings, several seeds, test accuracy.

    python bench/twin.py [--models fashion-mlp,mnist-cnn] [--seeds 3] [--epochs N] [--samples N]
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))

import keras  # noqa: E402
from keras import layers  # noqa: E402

from data import mnist  # noqa: E402


def article():
    return [layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10)]


def wide_mlp():
    return [layers.Flatten(), layers.Dense(512, "relu"), layers.Dropout(0.2), layers.Dense(512, "relu"), layers.Dropout(0.2),
            layers.Dense(10)]  # fmt: skip


def mnist_cnn():
    return [layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10)]  # fmt: skip


def fashion_cnn():
    return [layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Dropout(0.25),
            layers.Flatten(), layers.Dense(128, "relu"), layers.Dropout(0.4), layers.Dense(10)]  # fmt: skip


# Recipe -> (dataset, layers, batch size, epochs). Keep equal to recipes/<name>.toml.
TWINS = {
    "mnist-article": ("mnist", article, 32, 5),
    "fashion-mlp": ("fashion_mnist", article, 32, 10),
    "mnist-mlp": ("mnist", wide_mlp, 128, 20),
    "mnist-cnn": ("mnist", mnist_cnn, 64, 6),
    "fashion-cnn": ("fashion_mnist", fashion_cnn, 64, 20),
}


def train(name, seed, epochs, samples):
    dataset, make, batch_size, default_epochs = TWINS[name]
    keras.utils.set_random_seed(seed)
    x, y = mnist("train", dataset)
    x_test, y_test = mnist("test", dataset)
    model = keras.Sequential([keras.Input((28, 28, 1)), *make()])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"], jit_compile=True)  # fmt: skip
    begin = time.perf_counter()
    history = model.fit(x[:samples], y[:samples], batch_size, epochs or default_epochs, verbose=0,
                        validation_data=(x_test, y_test))  # fmt: skip
    accuracy = [round(a * 100, 2) for a in history.history["val_accuracy"]]
    return {"recipe": name, "seed": seed, "epochs": len(accuracy), "seconds": round(time.perf_counter() - begin, 1),
            "test_accuracy": accuracy[-1], "best_test_accuracy": max(accuracy)}  # fmt: skip


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=lambda s: s.split(","), default=list(TWINS))
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--epochs", type=int, help="instead of the recipe's")
    p.add_argument("--samples", type=int, help="only the first training images, for a trial")
    o = p.parse_args()
    for name in o.models:
        rows = [train(name, seed, o.epochs, o.samples) for seed in range(1, o.seeds + 1)]
        for row in rows:
            print(json.dumps(row), flush=True)
        mean = sum(row["test_accuracy"] for row in rows) / len(rows)
        print(f"{name}: mean test accuracy {mean:.2f} %", flush=True)


if __name__ == "__main__":
    main()
