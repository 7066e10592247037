#!/usr/bin/env python3
"""JPEG files to samples of 224 x 224 values by a random resized crop and flips: Tidemill, torchvision and tf.data, in turns.

    pip install torch torchvision numpy        # tensorflow-cpu may be of another interpreter: --tensorflow /path/to/python
    cargo build --release -p tidemill-data --example images
    python bench/images.py FOLDER [--rounds 3] [--tensorflow PYTHON]

FOLDER has a folder of images for each class, such as the unpacked `imagenet_sample_150`. Each peer is given its fastest way:
torchvision decodes with `torchvision.io` (and with Pillow), transforms with v2 on 8-bit tensors, and has its best number of
workers; tf.data decodes only the crop, resizes without averaging, and maps in parallel. Batches are of 32; each figure is the best of
its rounds, in images a second on the cores that the process may use, and in CPU time, which others on the machine change less; of
torchvision that is without workers. `--threads 1` counts one thread of each.
"""

import argparse
import glob
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import warnings

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/examples/images"
REPEATS = 8


def measured(pass_over, counts_cpu):
    """Images a second, and milliseconds of CPU time for one, of the best of three passes after each one's first batch."""
    rate, cpu = 0.0, None
    for _ in range(3):
        sizes = pass_over()
        next(sizes)
        start, used = time.perf_counter(), time.process_time()
        count = sum(sizes)
        rate = max(rate, count / (time.perf_counter() - start))
        if counts_cpu:
            cpu = min(cpu or 1e9, (time.process_time() - used) / count * 1e3)
    return rate, cpu


def torchvision_rate(folder, workers, reader):
    import torch
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*worker processes.*")
    files = sorted(glob.glob(os.path.join(folder, "*", "*")))

    class Files(torch.utils.data.Dataset):
        def __init__(self):
            self.transform = v2.Compose([
                *([v2.PILToTensor()] if reader == "pillow" else []),
                v2.RandomResizedCrop(224, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ])

        def __len__(self):
            return len(files) * REPEATS

        def __getitem__(self, index):
            name = files[index % len(files)]
            if reader == "pillow":
                from PIL import Image

                image = Image.open(name).convert("RGB")
            else:
                image = decode_image(read_file(name), mode=ImageReadMode.RGB)
            return self.transform(image), 0

    loader = torch.utils.data.DataLoader(Files(), batch_size=32, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    # Of worker processes the time is not counted.
    return measured(lambda: (len(images) for images, _ in loader), workers == 0)


def tensorflow_rate(folder, threads):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    files = sorted(glob.glob(os.path.join(folder, "*", "*")))
    mean, deviation = tf.constant([0.485, 0.456, 0.406]) * 255, tf.constant([0.229, 0.224, 0.225]) * 255

    def sample(name):
        data = tf.io.read_file(name)
        shape = tf.image.extract_jpeg_shape(data)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape, tf.zeros([1, 0, 4]), min_object_covered=0.0, aspect_ratio_range=(3 / 4, 4 / 3), area_range=(0.08, 1.0), max_attempts=10,
            use_image_if_no_bounding_boxes=True)
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        image = tf.image.random_flip_left_right(tf.image.resize(image, [224, 224]))
        return (image - mean) / deviation

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    data = tf.data.Dataset.from_tensor_slices(files * REPEATS).shuffle(len(files) * REPEATS)
    data = data.map(sample, num_parallel_calls=threads, deterministic=False).batch(32).prefetch(4).with_options(options)
    return measured(lambda: (len(images) for images in data), True)


def child(python, *arguments):
    out = subprocess.run([python, __file__, *map(str, arguments)], stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tensorflow", default=sys.executable)
    parser.add_argument("--peer", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        kind, *more = options.peer
        rate = tensorflow_rate(options.folder, int(more[0])) if kind == "tf" else torchvision_rate(options.folder, int(more[0]), more[1])
        print(json.dumps(rate))
        return
    threads = options.threads
    best = {}
    for _ in range(options.rounds):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run([PROGRAM, options.folder, str(threads), "9"], stdout=subprocess.PIPE, check=True, text=True).stdout
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        images = 9 * len(glob.glob(os.path.join(options.folder, "*", "*")))
        found = {"tidemill": (json.loads(out)["images_per_second"], seconds / images * 1e3)}
        counts = [0] if threads == 1 else [0, *range(threads - 1, threads + 3)]
        for reader in ["io", "pillow"]:
            for workers in counts:
                found[f"torchvision, {reader}, {workers} workers"] = child(sys.executable, options.folder, "--peer", "torch", workers, reader)
        for parallel in [1] if threads == 1 else [threads, threads + 2]:
            found[f"tf.data, {parallel} threads"] = child(options.tensorflow, options.folder, "--peer", "tf", parallel)
        for name, (rate, cpu) in found.items():
            known = best.get(name, (0.0, cpu))
            best[name] = (max(known[0], rate), cpu and min(known[1], cpu))
    print(machine.describe({}))
    print("| program | images a second | CPU ms an image | Tidemill's rate by it |\n| --- | --- | --- | --- |")
    own_rate, own_cpu = best["tidemill"]
    for name, (rate, cpu) in best.items():
        print(f"| {name} | {rate:.0f} | {f'{cpu:.2f}' if cpu else '-'} | {own_rate / rate:.2f} |")
    for kind in ["torchvision", "tf.data"]:
        of_kind = [figures for name, figures in best.items() if name.startswith(kind)]
        rate, cpu = max(rate for rate, _ in of_kind), min(cpu for _, cpu in of_kind if cpu)
        print(f"Tidemill is {own_rate / rate:.2f} x as fast as the fastest of {kind}, and takes 1 / {cpu / own_cpu:.2f} of the CPU time")


if __name__ == "__main__":
    main()
