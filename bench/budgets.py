#!/usr/bin/env python3
"""Trains random recipes within random budgets of memory, and looks whether they are kept.

    cargo build --release
    python3 bench/budgets.py [--cases 200] [--seed 1] [--only 17]

A case draws a model, data, a batch, an optimizer and what else takes memory (averages, validation, metrics, logs, checkpoints).
It is trained for some steps without a limit. Then the least budget is found as a user finds it: what a refusal says is needed is
given, until the run is not refused. The budget is drawn between that and what the run took without a limit, often the least itself.
The run within it is in a control group with the limit of the budget (version 1, which needs root; elsewhere the peak alone
counts), where the kernel kills what takes more. Its peak must be within the budget, its state must have the bits of the run without a limit,
and the arena of the run without a limit the bytes that `explain` says. `least / peak` is what the runs in the least budget left unused.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
GROUP = pathlib.Path("/sys/fs/cgroup/memory")
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
# Refusals before the first step have this status. They are answered with what they ask for, so often at most.
REFUSED, TRIES = 2, 12


# --- data: files that several cases read, made when the first one needs them


def table(path, draw, rows, columns):
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(f"x{i}" for i in range(columns)) + ",label\n")
        for _ in range(rows):
            file.write(",".join(f"{draw.gauss(0, 1):.4f}" for _ in range(columns)) + f",{draw.choice('abcd')}\n")


def texts(path, draw, rows, labels):
    words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 9))) for _ in range(4000)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n" if labels else "")
        for _ in range(rows):
            line = " ".join(words[int(draw.random() ** 2 * len(words))] for _ in range(draw.randint(3, 30)))
            file.write(f"{line},{draw.choice('abcd')}\n" if labels else f"{line}\n")


def idx(path, draw, samples, size):
    """Random images and classes; `path` is that of the images."""
    for name, head, values in (("images", [3, samples, size, size], samples * size * size), ("labels", [1, samples], samples)):
        data = draw.randbytes(values) if name == "images" else bytes(draw.randrange(10) for _ in range(values))
        magic = bytes([0, 0, 8, head[0]]) + b"".join(n.to_bytes(4, "big") for n in head[1:])
        opened = gzip.open(f"{path}-{name}.gz", "wb", compresslevel=1) if samples % 2 else open(f"{path}-{name}", "wb")
        with opened as file:
            file.write(magic + data)


class Files:
    """The folder of all data."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program

    def once(self, name, make):
        """The path of a file that `make(path, draw)` writes."""
        path = self.folder / name
        if not path.with_name(name + ".made").exists():
            make(path, random.Random(name))
            path.with_name(name + ".made").touch()
        return path

    def generated(self, name, *command):
        """The path of a folder that a command of the program writes."""
        return self.once(name, lambda path, _: subprocess.run(
            [self.program, "data", *map(str, command), "--out", path], check=True, capture_output=True))


# --- cases: each gives the lines of a model and of its data


def dense(draw, files):
    columns, rows = draw.choice([8, 32, 128]), draw.choice([300, 3000, 30000])
    units, layers = draw.choice([(64, 3), (256, 2), (256, 8), (512, 4), (1024, 3), (2048, 2)])
    path = files.once(f"rows-{rows}-{columns}.csv", lambda path, d: table(path, d, rows, columns))
    norm = draw.choice(["", "{ batch_norm = {} }, ", "{ dropout = { rate = 0.2 } }, "])
    model = (f"input = {{ features = {columns} }}\nlayers = [{{ repeat = {{ times = {layers}, layers = "
             f"[{{ dense = {{ units = {units}, activation = \"relu\" }} }}, {norm}] }} }}, {{ dense = {{ units = 4 }} }}]")
    data = f'csv = {{ path = "{path}", label = "label", validation_split = 0.2, subset = "SUBSET" }}'
    return f"dense {layers} x {units}, {rows} rows of {columns}", model, data, draw.choice([8, 32, 256, 1024]), ""


CONVOLUTIONS = """input = { image = { height = SIZE, width = SIZE, channels = 1 } }
layers = [
  { conv2d = { filters = F, kernel = 3, padding = "same", activation = "relu" } }, { max_pool2d = { size = 2 } },
  { conv2d = { filters = G, kernel = 3, padding = "same", activation = "relu" } }, { max_pool2d = { size = 2 } },
  { flatten = {} }, { dense = { units = U, activation = "relu" } }, { dense = { units = 10 } },
]"""
RESNET = """input = { image = { height = SIZE, width = SIZE, channels = 1 } }
layers = [
  { conv2d = { filters = F, kernel = 3, padding = "same", bias = false } }, { batch_norm = {} }, { activation = "relu" },
  { repeat = { times = BLOCKS, layers = [{ residual = { activation = "relu", layers = [
    { conv2d = { filters = F, kernel = 3, padding = "same", bias = false } }, { batch_norm = {} }, { activation = "relu" },
    { conv2d = { filters = F, kernel = 3, padding = "same", bias = false } }, { batch_norm = {} } ] } }] } },
  { residual = { activation = "relu", layers = [{ conv2d = { filters = G, kernel = 3, stride = 2, padding = "same", bias = false } }, { batch_norm = {} }],
    shortcut = [{ conv2d = { filters = G, kernel = 1, stride = 2, padding = "same", bias = false } }, { batch_norm = {} }] } },
  { global_avg_pool = {} }, { dense = { units = 10 } },
]"""


def images(draw, files):
    kind = draw.choice(["convolutions", "resnet"])
    size, first = draw.choice([28, 32]), draw.choice([8, 16, 32])
    words = {"SIZE": size, "F": first, "G": 2 * first, "U": draw.choice([32, 128, 512]), "BLOCKS": draw.choice([1, 3, 5])}
    model = re.sub(r"\b(SIZE|F|G|U|BLOCKS)\b", lambda m: str(words[m[0]]), CONVOLUTIONS if kind == "convolutions" else RESNET)
    if draw.random() < 0.5:
        samples = draw.choice([500, 5001, 20000])
        path = files.once(f"idx-{samples}-{size}", lambda path, d: idx(path, d, samples, size))
        end = ".gz" if samples % 2 else ""
        what = f"IDX of {samples}"
        data = f'idx = {{ images = "{path}-images{end}", labels = "{path}-labels{end}", validation_split = 0.2, subset = "SUBSET" }}'
    else:
        samples = draw.choice([60, 1000])
        path = files.generated(f"digits-{samples}-{size}", "digits", "--train", samples // 10, "--test", 2, "--size", size)
        cache = draw.choice(['"auto"', "true", "false"])
        what = f"folder of {samples}, cache {cache}"
        data = f'image_directory = {{ path = "{path}/train", cache = {cache}, validation_split = 0.2, subset = "SUBSET" }}'
    augment = draw.choice(["", "augment = { random_crop = { padding = 2 } }\n"])
    return f"{kind} of {first}, {what}{', augmented' if augment else ''}", model, data, draw.choice([8, 32, 128]), augment


def decoder(draw, files):
    rows = draw.choice([300, 10000])
    path = files.once(f"text-{rows}.txt", lambda path, d: texts(path, d, rows, False))
    units, layers, context = draw.choice([(32, 2, 32), (64, 4, 64), (128, 4, 64), (192, 2, 128)])
    tokens = draw.choice(["characters = {}", "words = { vocabulary = 5000 }", "bpe = { vocabulary = 500 }"])
    model = f"decoder_only = {{ units = {units}, heads = 4, layers = {layers}, context = {context}, dropout = {draw.choice([0.0, 0.1])} }}"
    data = f'text = {{ path = "{path}", validation_split = 0.1, subset = "SUBSET" }}'
    return f"decoder_only {layers} x {units}, {tokens}, {rows} lines", model, data, draw.choice([4, 16, 32]), f"[text]\ntokenizer = {{ {tokens} }}\n"


def translation(draw, files):
    rows = draw.choice([300, 3000])
    path = files.generated(f"numerals-{rows}", "numerals", "--train", rows, "--test", 50)
    units, layers = draw.choice([(32, 1), (64, 2), (128, 3)])
    model = f"encoder_decoder = {{ units = {units}, heads = 4, encoder = {layers}, decoder = {layers}, length = 64, dropout = 0.1 }}"
    names = sorted(p.name for p in path.iterdir() if p.name.startswith("train"))
    data = f'parallel = {{ source = "{path}/{names[1]}", target = "{path}/{names[0]}" }}'
    return f"encoder_decoder {layers} x {units}, {rows} pairs", model, data, draw.choice([8, 32, 64]), "[text]\ntokenizer = { bpe = { vocabulary = 300 } }\n"


def bag(draw, files):
    rows = draw.choice([300, 10000])
    path = files.once(f"texts-{rows}.csv", lambda path, d: texts(path, d, rows, True))
    units, vocabulary = draw.choice([16, 64]), draw.choice([4096, 65536])
    model = f'bag = {{ column = "text", units = {units}, classes = 4, ngrams = 2, length = 64, vocabulary = {vocabulary} }}'
    data = f'csv = {{ path = "{path}", label = "label", validation_split = 0.2, subset = "SUBSET" }}'
    return f"bag of {vocabulary} x {units}, {rows} texts", model, data, draw.choice([8, 32, 256]), ""


def optimizer(draw):
    name, slots = draw.choice(["sgd", "adam", "adam", "adamw", "rmsprop"]), draw.choice(["f32", "f32", "bf16", "8bit"])
    keys = ["learning_rate = 1e-3", f'slots = "{slots}"'] + (["momentum = 0.9"] if name == "sgd" else [])
    clip = draw.random() < 0.3
    keys += ["global_clip_norm = 1.0"] if clip else []
    return f"{name} {slots}{' clipped' if clip else ''}", f"optimizer = {{ {name} = {{ {', '.join(keys)} }} }}\n"


def case(seed, number, files):
    """What the case is, in words, and its recipe."""
    draw = random.Random(f"{seed} {number}")
    make = draw.choice([dense, dense, images, images, decoder, translation, bag])
    what, model, data, batch, further = make(draw, files)
    tokens = make in (decoder, translation)
    loss = "token_crossentropy" if tokens else "sparse_categorical_crossentropy"
    name, optimizer_lines = optimizer(draw)
    words, training, rest = [f"batch {batch}", name], "", ""

    def sometimes(share, word):
        """Whether this case has it; then it is among its words."""
        has = draw.random() < share
        words.extend([word] if has else [])
        return has

    if sometimes(0.25, "average"):
        training += draw.choice(["average = { ema = 0.99 }\n", "average = { epochs = 2 }\n"])
    if sometimes(0.15, "spikes"):
        training += "spikes = { every = 2 }\n"
    if sometimes(0.15, "shards"):
        training += "shards = 4\n"
        batch = max(batch, 16)
    if not tokens and sometimes(0.4, "metrics"):
        training += 'metrics = ["accuracy", "f1", "auc"]\n'
    validation = ""
    if sometimes(0.6, "validation"):
        validation = f"validation = {{ {data.replace('SUBSET', 'validation')} }}\n"
    if sometimes(0.3, "log"):
        rest += "[log]\nevery_steps = 1\ncsv = true\ntensorboard = true\nhistograms = 1\n"
    if sometimes(0.5, "no page"):
        rest += "[report]\nhtml = false\n"
    if sometimes(0.3, "checkpoints"):
        rest += "[checkpoint]\nevery_steps = 1\n"
    batch_keys = further if not further.startswith("[") else ""
    recipe = (f"[model]\n{model}\n[training]\nloss = \"{loss}\"\nseed = {number}\n{optimizer_lines}{training}"
              f"[batch]\ndata = {{ {data.replace('SUBSET', 'training')} }}\n{validation}batch_size = {batch}\n"
              f"steps_per_epoch = 3\nepochs = 2\n{batch_keys}{further if not batch_keys else ''}{rest}")
    share = draw.choice([0.0, 0.0, draw.random()])
    threads = draw.choice([1, 2])
    return f"{what}; {', '.join(words)}", recipe, share, threads


# --- runs


class Group:
    """A control group of memory; none where it cannot be made."""

    def __init__(self):
        self.folder = GROUP / f"tidemill-budgets-{os.getpid()}"
        try:
            self.folder.mkdir()
        except OSError as e:
            self.folder = None
            print(f"no control group can be made ({e}): peaks alone are compared")

    def limit(self, size):
        """Sets the limit; gives what a process calls to be in the group."""
        if self.folder is None:
            return None
        # The files that an earlier run has read count where they were read first.
        (self.folder / "memory.force_empty").write_text("0")
        (self.folder / "memory.limit_in_bytes").write_text(str(size))
        (self.folder / "memory.max_usage_in_bytes").write_text("0")
        return lambda: (self.folder / "tasks").write_text(str(os.getpid()))

    def read(self):
        """The most that was charged, cached files included, and the kills."""
        if self.folder is None:
            return 0, 0
        kills = (self.folder / "memory.oom_control").read_text().split()
        return int((self.folder / "memory.max_usage_in_bytes").read_text()), int(kills[kills.index("oom_kill") + 1])

    def remove(self):
        if self.folder is not None:
            self.folder.rmdir()


Run = collections.namedtuple("Run", "status peak text summary seconds")


def high_water(pid, name):
    """VmHWM of a process that runs the program of this name."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) * 1024 if found and status.startswith(f"Name:\t{name}\n") else 0


def run(command, folder, out=None, enter=None):
    """Runs it; the peak is VmHWM as read every few milliseconds: what `wait4` gives begins with the memory of this process."""
    begun = time.perf_counter()
    with open(folder / "said", "w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, preexec_fn=enter)
        peak = 0
        while process.poll() is None:
            peak = max(peak, high_water(process.pid, pathlib.Path(command[0]).name))
            time.sleep(0.003)
        said.seek(0)
        text = said.read()
    summary = out / "summary.json" if out else None
    found = json.loads(summary.read_text()) if summary and process.returncode == 0 else {}
    peak = max(peak, found.get("peak_rss_bytes", 0))
    return Run(process.returncode, peak, text, found, time.perf_counter() - begun)


def size(number, unit):
    return int(float(number.replace(",", "")) * UNITS[unit])


def least(train):
    """The least budget that is not refused, and how many were refused."""
    budget, refusals = 8_000_000, 0
    while True:
        done = train(budget)
        if done.status != REFUSED or refusals == TRIES:
            return budget, refusals
        asked = size(*re.search(r"the run needs (?:at least )?([\d.,]+) ([KMG]?B)", done.text).groups())
        refusals += 1
        # Sizes are printed with three digits or so.
        budget = max(int(asked * 1.005), budget + 100_000)


def judge(args, number, files, group, folder):
    """Runs a case; gives a row of the table, and prints a line."""
    what, recipe, share, threads = case(args.seed, number, files)
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    out = folder / "run"

    def train(budget=None, threads=threads, enter=None):
        shutil.rmtree(out, ignore_errors=True)
        command = [args.tidemill, "train", folder / "recipe.toml", "--out", out, "--threads", str(threads)]
        return run(command + (["--memory", f"{budget}B"] if budget else []), folder, out, enter)

    usual = train(threads=3 - threads)
    if usual.status:
        raise SystemExit(f"case {number} ({what}) fails without a limit:\n{recipe}\n{usual.text}")
    floor, refusals = least(train)
    budget = int(floor + share * max(0, usual.peak - floor))
    kills = group.read()[1]
    while True:
        done = train(budget, enter=group.limit(budget))
        charged, kills_now = group.read()
        # What a process takes before its first step differs by some pages: the least budget of one may be refused to the next.
        if done.status != REFUSED or refusals > TRIES:
            break
        budget, refusals = int(budget * 1.005), refusals + 1
    explain = [args.tidemill, "explain", folder / "recipe.toml", "--threads", str(threads)]
    planned = run(explain + ["--memory", f"{budget}B"], folder).text
    planned = re.search(r"^memory ([\d.,]+) ([KMG]?B) of", planned, re.M)
    planned = size(*planned.groups()) if planned else None
    # With validation, shards and texts a run has further plans, of which one may take more than the one that is shown.
    alone = not any(word in recipe for word in ("validation = ", "shards = ", "[text]", "bag = "))
    arena = re.search(r"^arena ([\d,]+) bytes", run(explain, folder).text, re.M)
    arena = int(arena[1].replace(",", "")) if alone and arena else None
    wrong = []
    if kills_now > kills:
        wrong.append("KILLED")
    elif done.status:
        wrong.append(f"STATUS {done.status}")
    if done.peak > budget:
        wrong.append("PEAK")
    if done.summary and done.summary["state_sha256"] != usual.summary["state_sha256"]:
        wrong.append("BITS")
    if arena is not None and usual.summary["arena_bytes"] != arena:
        wrong.append(f"ARENA {usual.summary['arena_bytes']} NOT {arena}")
    row = {"wrong": wrong, "planned": done.peak / planned if planned else None, "arena": arena is not None, "ratio": done.peak / budget, "floor": floor / done.peak if share == 0 else None, "usual": floor / usual.peak,
           "refusals": refusals, "filed": "are in a file" in done.text}
    print(f"{number:>3} least {floor / 1e6:6.1f} MB ({refusals} refusals), usual {usual.peak / 1e6:6.1f}, budget {budget / 1e6:6.1f}: peak "
          f"{done.peak / 1e6:6.1f} ({row['ratio']:.3f}), charged {charged / 1e6:6.1f}; {'file; ' if row['filed'] else ''}"
          f"{usual.seconds:.1f} s, {done.seconds:.1f} s; {what} {' '.join(wrong)}", flush=True)
    if wrong:
        print("    " + done.text.strip().replace("\n", "\n    ")[-1500:], flush=True)
    return row


def spread(values):
    values = sorted(values)
    if not values:
        return "none"
    return f"median {statistics.median(values):.2f}, nine in ten up to {values[int(0.9 * (len(values) - 1))]:.2f}, most {values[-1]:.2f}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    p.add_argument("--tidemill", default=str(target / "release/tidemill"), help="the binary")
    p.add_argument("--cases", type=int, default=200)
    p.add_argument("--first", type=int, default=0, help="the number of the first case")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int, help="run this case alone")
    p.add_argument("--show", action="store_true", help="print the recipes and run nothing")
    p.add_argument("--folder", default=str(target), help="where data and runs are; on a disk")
    args = p.parse_args()
    print(machine.describe({}))
    numbers = [args.only] if args.only is not None else range(args.first, args.first + args.cases)
    group = Group()
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        folder = pathlib.Path(place)
        files = Files(folder, args.tidemill)
        try:
            for number in numbers:
                if args.show:
                    print(case(args.seed, number, files)[1])
                else:
                    rows.append(judge(args, number, files, group, folder))
        finally:
            group.remove()
    if rows:
        wrong = collections.Counter(kind for row in rows for kind in row["wrong"])
        print(f"{sum(not row['wrong'] for row in rows)} of {len(rows)} kept; {dict(wrong)}; {sum(row['filed'] for row in rows)} with state in a file")
        print(f"peak / budget: {spread(row['ratio'] for row in rows)}")
        print(f"peak / what explain says: {spread(row['planned'] for row in rows if row['planned'])}; "
              f"arenas that were compared with its: {sum(row['arena'] for row in rows)}")
        print(f"least budget / peak in it: {spread(row['floor'] for row in rows if row['floor'])}")
        print(f"least budget / peak without a limit: {spread(row['usual'] for row in rows)}")
        print(f"refusals until the least budget: {spread(row['refusals'] for row in rows)}")
    raise SystemExit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
