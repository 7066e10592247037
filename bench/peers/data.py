"""Real inputs as f32 arrays in memory, shared by all peers."""

import gzip
import io
import os
import pathlib
import tarfile

import numpy as np

# Distinct batches that are stepped through: as many as `tidemill bench` takes, so that caches help all alike.
NUM_BATCHES = 16


def data_folder():
    default = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
    return pathlib.Path(os.environ.get("TIDEMILL_DATA", default))


def idx(path):
    with gzip.open(path) as file:
        raw = file.read()
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def mnist(split="train", name="mnist"):
    """Images [n,28,28,1] in 0..1 and labels [n] (i32)."""
    stem = {"train": "train", "test": "t10k"}[split]
    folder = data_folder() / name
    images = idx(folder / f"{stem}-images-idx3-ubyte.gz").astype(np.float32)[..., None] / np.float32(255)
    return images, idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int32)


def cifar(count):
    """The first `count` training images of the CIFAR subset, taken class by class in turn: [n,32,32,3] in 0..1, labels [n]."""
    from PIL import Image

    by_class = {}
    with tarfile.open(data_folder() / "cifar10_jpg_subset" / "cifar10_jpg_subset.tar.gz") as archive:
        for member in archive:
            parts = pathlib.PurePath(member.name).parts
            if not member.isfile() or "train" not in parts:
                continue
            images = by_class.setdefault(parts[-2], [])
            if len(images) < -(-count // 10):
                images.append(np.asarray(Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")))
    rows = [(image, label) for group in zip(*[by_class[k] for k in sorted(by_class)]) for label, image in enumerate(group)]
    images = np.stack([image for image, _ in rows[:count]]).astype(np.float32) / np.float32(255)
    return images, np.array([label for _, label in rows[:count]], np.int32)


def random_photos(size):
    """Batches of random values: all that a step of these models does takes as long with them. As many as `tidemill bench` takes."""
    random = np.random.default_rng(1)
    steps = max(2 * size, 64) // size
    return random.random((steps, size, 224, 224, 3), np.float32), random.integers(0, 1000, (steps, size), np.int32)


def batches(job):
    """The inputs of a step job: images [steps,b,h,w,c] (MLP: [steps,b,784]) and labels [steps,b]."""
    size = job["batch_size"]
    if job["model"] in ("resnet50", "mobilenet"):
        return random_photos(size)
    count = NUM_BATCHES * size
    images, labels = cifar(count) if job["model"] == "resnet" else mnist()
    images, labels = images[:count], labels[:count]
    shape = (784,) if job["model"] == "mlp" else images.shape[1:]
    return np.ascontiguousarray(images.reshape(NUM_BATCHES, size, *shape)), labels.reshape(NUM_BATCHES, size)
