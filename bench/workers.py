"""Workers: one process with two threads, two workers with one thread each (threads of one process, and processes over
TCP), and PyTorch's DistributedDataParallel over Gloo, in one run.

    TIDEMILL_DATA=... python bench/workers.py [--jobs mlp,mlp-512,resnet] [--rounds 5]

A measurement is the time between two numbers of steps, so that start and data do not count. Programs take turns; the
table has the fastest round of each, with the median behind it.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import machine

BINARY = os.environ.get("TIDEMILL", "target/release/tidemill")

IMAGES = 'data = { idx = { images = "mnist/train-images-idx3-ubyte.gz", labels = "mnist/train-labels-idx1-ubyte.gz" } }'
MLP = """
[model]
input = {{ image = {{ height = 28, width = 28, channels = 1 }} }}
layers = [ {{ flatten = {{}} }}, {layers} {{ dense = {{ units = 10 }} }} ]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = {{ sgd = {{ learning_rate = 0.01 }} }}
shards = {shards}
[batch]
{data}
batch_size = 1024
epochs = 100
[report]
html = false
"""


def hidden(units, layers):
    return "".join(f'{{ dense = {{ units = {units}, activation = "relu" }} }}, ' for _ in range(layers))


def recipe(job, shards):
    if job == "resnet":
        text = open("recipes/cifar-resnet.toml", encoding="utf-8").read()
        lines = [line for line in text.splitlines() if not line.startswith("validation")]
        text = "\n".join(lines).replace("[training]", f"[training]\nshards = {shards}")
        return text + "\n[report]\nhtml = false\n" if "[report]" not in text else text
    layers = {"mlp": hidden(128, 1), "mlp-512": hidden(512, 2)}[job]
    return MLP.format(layers=layers, shards=shards, data=IMAGES)


STEPS = {"mlp": (50, 650), "mlp-512": (20, 140), "resnet": (5, 65)}
BATCH = {"mlp": 1024, "mlp-512": 1024, "resnet": 64}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ours(job, shards, workers, tcp):
    """Seconds a step."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "r.toml")
        open(path, "w", encoding="utf-8").write(recipe(job, shards))
        seconds = []
        for steps in STEPS[job]:
            command = [BINARY, "train", path, "--out", f"{folder}/{steps}", "--json", "--set", f"stop.steps={steps}"]
            others = []
            if tcp:
                port = free_port()
                command += ["--workers", str(workers), "--listen", f"127.0.0.1:{port}", "--threads", "1"]
                join = [BINARY, "work", "--join", f"127.0.0.1:{port}", "--threads", "1"]
                others = [subprocess.Popen(join, stderr=subprocess.DEVNULL) for _ in range(workers - 1)]
            elif workers > 1:
                command += ["--workers", str(workers), "--threads", "1"]
            else:
                command += ["--threads", "2"]
            done = subprocess.run(command, capture_output=True, text=True)
            [other.wait() for other in others]
            if done.returncode:
                raise SystemExit(done.stderr)
            seconds.append(json.loads(done.stdout)["wall_seconds"])
        few, many = STEPS[job]
        return (seconds[1] - seconds[0]) / (many - few)


def ddp(job, processes):
    port = free_port()
    command = [sys.executable, os.path.abspath(__file__), "--ddp", job, str(processes), str(port)]
    ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(processes)]
    texts = [rank.communicate()[0] for rank in ranks]
    return float(texts[0])


def ddp_rank(job, processes, port, rank):
    import torch
    import torch.distributed as dist
    from torch import nn

    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
    import torch_peer

    processes, rank = int(processes), int(rank)
    torch.set_num_threads(2 // processes)
    torch.manual_seed(1)
    rows = BATCH[job] // processes
    if job == "resnet":
        model, x = torch_peer.resnet20(), torch.rand(rows, 3, 32, 32)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=True)
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    else:
        units = [784] + {"mlp": [128], "mlp-512": [512, 512]}[job]
        layers = [m for i, o in zip(units, units[1:]) for m in (nn.Linear(i, o), nn.ReLU())]
        model, x = nn.Sequential(*layers, nn.Linear(units[-1], 10)), torch.rand(rows, 784)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, fused=True)
    y = torch.randint(0, 10, (rows,))
    if processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank), "WORLD_SIZE": str(processes)}
        dist.init_process_group("gloo")
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)

    def step():
        optimizer.zero_grad(set_to_none=processes == 1)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    few, many = STEPS[job]
    for _ in range(few):
        step()
    start = time.perf_counter()
    for _ in range(many - few):
        step()
    if rank == 0:
        print((time.perf_counter() - start) / (many - few))
    if processes > 1:
        dist.destroy_process_group()


PROGRAMS = {
    "1 worker, 2 threads, whole batches": lambda job: ours(job, 1, 1, False),
    "1 worker, 2 threads, 2 shards": lambda job: ours(job, 2, 1, False),
    "2 workers, 1 thread, 2 shards": lambda job: ours(job, 2, 2, False),
    "2 workers over TCP, 2 shards": lambda job: ours(job, 2, 2, True),
    "1 worker, 2 threads, 8 shards": lambda job: ours(job, 8, 1, False),
    "2 workers over TCP, 8 shards": lambda job: ours(job, 8, 2, True),
    "PyTorch, 1 process, 2 threads": lambda job: ddp(job, 1),
    "PyTorch DDP over Gloo, 2 processes": lambda job: ddp(job, 2),
}


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--ddp":
        return ddp_rank(*sys.argv[2:])
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--jobs", default="mlp,mlp-512,resnet")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments = arguments.parse_args()
    print(f"{machine.describe({})}, load {machine.load():.2f}\n")
    print("| job | program | fastest, ms a step | median |\n| --- | --- | --- | --- |")
    for job in arguments.jobs.split(","):
        seconds = {name: [] for name in PROGRAMS}
        names = list(PROGRAMS)
        for turn in range(arguments.rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                seconds[name].append(PROGRAMS[name](job))
        for name, taken in seconds.items():
            print(f"| {job} | {name} | {min(taken) * 1e3:.2f} | {statistics.median(taken) * 1e3:.2f} |", flush=True)


if __name__ == "__main__":
    main()
