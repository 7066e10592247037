"""Input and output of a whole job. Imports little: its start-up is part of what is measured."""

import gzip
import os
import pathlib
import struct
import sys

import numpy as np

BATCH, EPOCHS = 32, 5


def mnist_u8():
    """Training images [60000,784] and labels [60000], both u8."""
    default = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("TIDEMILL_DATA", default)) / "mnist"
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)


def initial(seed=1):
    """Glorot-uniform weights as a list [w1, b1, w2, b2], weights [in, out]."""
    random = np.random.default_rng(seed)
    out = []
    for shape in ((784, 128), (128, 10)):
        limit = (6 / sum(shape)) ** 0.5
        out += [random.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[1], np.float32)]
    return out


def orders(count, seed=1):
    """For each epoch the shuffled sample numbers, [steps, batch]."""
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        yield random.permutation(count)[: count // BATCH * BATCH].reshape(-1, BATCH)


def save(weights):
    """Writes [w1, b1, w2, b2] to the path in the last argument, the four one after another."""
    with open(sys.argv[-1], "wb") as file:
        for weight in weights:
            array = np.ascontiguousarray(weight, np.float32)
            file.write(struct.pack("<q", array.size) + array.tobytes())
        file.flush()
        os.fsync(file.fileno())
