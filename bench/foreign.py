#!/usr/bin/env python3
"""Files and streams that other programs wrote: `init`, `learn` and `train`, with no recipe edited and every row counted.

    python bench/foreign.py target/release/tidemill

All hold the same rows (numbers, cities, gaps, a class), written by pandas, NumPy, Weka, PostgreSQL, jq, ImageMagick, and
producers for Redis and NATS, in a file that logrotate moves away while it is followed, and in downloads that were cut off.
Excel's and MOA's files are written here as those write them. The figures stand beside River's and scikit-learn's logistic
regression on the same rows. A program that is not installed is named. For Redis and NATS build with `--features redis,nats`.
Prints a table in Markdown; status 1 if a job failed, lost a row or was below.
"""

import asyncio
import contextlib
import gzip
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import linear  # noqa: E402
from any_data import Failed, call, json_of, text  # noqa: E402

TRAIN, TEST = 4_000, 8_000
CITIES = ["Zürich", "Köln", "Łódź", "São Paulo", "Paris"]
WEKA = "/usr/share/java/weka.jar"


class Missing(Exception):
    """A program that is not installed."""


def rows():
    """Rows of which a linear model sees nearly all that can be seen."""
    random = np.random.default_rng(7)
    n = TRAIN + TEST
    frame = pd.DataFrame({
        "temperature": random.normal(12, 8, n).round(2),
        "income": random.lognormal(8, 0.8, n).round(2),
        "visits": random.poisson(3, n),
        "city": random.choice(CITIES, n),
        "member": random.random(n) < 0.4,
    })  # fmt: skip
    score = 0.2 * (frame.temperature - 12) + 0.8 * (frame.visits - 3) + frame.city.map(dict(zip(CITIES, (2, -1, 0, 1, -2))))
    frame["answer"] = np.where(score + frame.member + random.logistic(0, 1, n) > 0, "yes", "no")
    # Gaps come later than the first rows.
    frame.loc[random.random(n) < 0.02, "temperature"] = np.nan
    frame.loc[random.random(n) < 0.02, "city"] = None
    return frame


def needs(program):
    if shutil.which(program) is None:
        raise Missing(program)


def run(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, text=True, capture_output=True, **more).stdout


def pandas_index(frame, path):
    frame.to_csv(path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def pandas_plain(frame, path):
    frame.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def excel(frame, path):
    """As "CSV (MS-DOS/Windows)" from a German Excel: semicolons, decimal commas, groups of three, Windows-1252."""
    path = path.with_suffix(".csv")
    euros = frame.assign(
        temperature=frame.temperature.map(lambda v: "" if v != v else str(v).replace(".", ",")),
        income=frame.income.map(lambda v: f"{v:,.2f}".translate(str.maketrans(",.", ".,"))),
        city=frame.city.fillna("").replace("Łódź", "Lodz"),
        member=frame.member.map({True: "WAHR", False: "FALSCH"}),
    )
    path.write_text(euros.to_csv(sep=";", index=False, lineterminator="\r\n"), "cp1252", newline="")
    return path


def numpy_arrays(frame, path):
    x = pd.get_dummies(frame.drop(columns="answer").fillna({"temperature": 12.0}), columns=["city"]).to_numpy(np.float64)
    np.savez(path.with_suffix(".npz"), x=x, y=(frame.answer == "yes").to_numpy(np.int64))
    return path.with_suffix(".npz")


def weka(frame, path):
    needs("java")
    if not pathlib.Path(WEKA).exists():
        raise Missing("weka")
    plain = pandas_plain(frame, path)
    # Weka names the classes in the order in which they come, so both files begin alike.
    arff = path.with_suffix(".arff")
    arff.write_text(run("java", "-Dfile.encoding=UTF-8", "-cp", WEKA, "weka.core.converters.CSVLoader", plain), "utf-8")
    return arff


def moa(frame, path):
    """As MOA's WriteStreamToARFFFile: an empty line, numbers in full, a comma at the end."""
    path = path.with_suffix(".arff")
    frame = frame.assign(city=frame.city.fillna("?").map(lambda c: f"'{c}'" if " " in c else c))
    names = ",".join(f"'{c}'" if " " in c else c for c in CITIES)
    head = ["@relation 'generators.Test -i 1'", ""]
    head += [f"@attribute {n} numeric" for n in ("temperature", "income", "visits")]
    head += [f"@attribute city {{{names}}}", "@attribute member {false,true}", "@attribute class {no,yes}", "", "@data", ""]
    values = frame.assign(member=frame.member.map(str).str.lower()).astype(object).where(frame.notna(), "?")
    path.write_text("\n".join([*head, *(",".join(map(str, r)) + "," for r in values.itertuples(index=False))]) + "\n")
    return path


def postgres(frame, path):
    needs("initdb")
    plain, path = pandas_plain(frame, path), path.with_suffix(".tsv")
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, "postgres")
        database = f"{folder}/data"
        as_user = ["runuser", "-u", "postgres", "--"]
        run(*as_user, "initdb", "-D", database, "-E", "UTF8", "--locale", "C")
        server = subprocess.Popen([*as_user, "postgres", "-D", database, "-k", folder, "-c", "listen_addresses="],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            create = "create table t (temperature float8, income numeric(12,2), visits int, city text, member bool, answer text);"
            sql = f"{create}\n\\copy t from '{plain}' csv header\n\\copy t to '{path}' header\n"
            for _ in range(50):
                with contextlib.suppress(subprocess.CalledProcessError):
                    run("psql", "-h", folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", input=sql)
                    break
                time.sleep(0.2)
        finally:
            server.terminate()
            server.wait()
    return path


def jq(frame, path):
    needs("jq")
    path = path.with_suffix(".json")
    path.write_text(run("jq", ".", input=frame.to_json(orient="records")))
    return path


def images(folder):
    """Photos of three classes as ImageMagick makes them: 16 bits, CMYK, a palette, an alpha channel."""
    needs("convert")
    kinds = [["-depth", "16", "png"], ["-colorspace", "CMYK", "jpg"], ["-colors", "8", "gif"], ["-alpha", "on", "png"], ["webp"]]
    for c, colour in enumerate(("red", "green", "blue")):
        (folder / colour).mkdir(parents=True)
        for i in range(40):
            *options, end = kinds[i % len(kinds)]
            fill = f"gradient:{colour}-gray{20 + i}"
            run("convert", "-size", f"{24 + i}x{30 + c}", fill, *options, folder / colour / f"{i:02}.{end}")
    return folder


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(folder, *command):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def redis(frame, folder):
    needs("redis-server")
    from redis import Redis

    at = port()
    with server(folder, "redis-server", "--port", str(at), "--save", "", "--bind", "127.0.0.1"):
        client = Redis("127.0.0.1", at)
        for row in frame.astype(object).fillna("").itertuples(index=False):
            client.xadd("events", {k: str(v) for k, v in row._asdict().items()})
        yield f"redis://127.0.0.1:{at}/events"


@contextlib.contextmanager
def nats(frame, folder):
    needs("nats-server")
    import nats as client

    at = port()

    async def publish(lines):
        connection = await client.connect(f"nats://127.0.0.1:{at}")
        stream = connection.jetstream()
        await stream.add_stream(name="EVENTS", subjects=["events"])
        for line in lines:
            await stream.publish("events", line.encode())
        await connection.close()

    with server(folder, "nats-server", "-a", "127.0.0.1", "-p", str(at), "-js", "-sd", str(folder)):
        asyncio.run(publish(frame.to_json(orient="records", lines=True).splitlines()))
        yield f"nats://127.0.0.1:{at}/EVENTS"


def figure(summary):
    return (summary["prequential"]["accuracy"],)


def learn(program, folder, recipe, source, count, *more):
    summary = json_of(call(program, "learn", recipe, "--from", source, "--out", folder / "learn", "--force", "--json", *more))
    found = summary["events"] + summary["bad_events"] + summary["shed"]
    if found != count or summary["bad_events"]:
        raise Failed(f"learn: {found} rows of {count}, {summary['bad_events']} of them bad")
    return figure(summary)


def trained(program, folder, recipe, test, count):
    call(program, "train", recipe, "--out", folder / "train", "--force")
    answers = call(program, "predict", folder / "train", "--data", test).strip().splitlines()[1:]
    if len(answers) != count:
        raise Failed(f"predict: {len(answers)} of {count} rows")
    return (json_of(call(program, "eval", folder / "train", "--data", test, "--json"))["figures"]["accuracy"],)


def file_job(make, label="answer"):
    def job(program, folder, frame):
        train, test = make(frame[:TRAIN], folder / "rows"), make(frame[TRAIN:], folder / "held-out")
        recipe = folder / "recipe.toml"
        arrays = train.suffix == ".npz"
        call(program, "init", train, "--out", recipe, *([] if arrays or label is None else ["--label", label]))
        source, more = ("data:", []) if arrays else (train, [])
        # Of arrays, init keeps a fifth for validation; it is no part of the replay.
        count = TRAIN * 4 // 5 if arrays and "validation_split" in recipe.read_text() else TRAIN
        return count, learn(program, folder, recipe, source, count, *more), trained(program, folder, recipe, test, TEST)

    return job


def broker_job(broker):
    """The recipe is made of a file of such events, as one has before; the stream is the broker's. Redis knows texts alone."""

    def job(program, folder, frame):
        frame[:TRAIN].to_json(folder / "rows.jsonl", orient="records", lines=True)
        recipe = folder / "recipe.toml"
        call(program, "init", folder / "rows.jsonl", "--label", "answer", "--out", recipe)
        with broker(frame[:TRAIN], folder) as address:
            try:
                ours = learn(program, folder, recipe, address, TRAIN, "--until-events", TRAIN)
            except Failed as why:
                raise Missing("a feature of this build") if "this build has no" in str(why) else why
        return TRAIN, ours, None

    return job


def rotated(program, folder, frame):
    """A log that logrotate moves away three times while it is written and followed."""
    needs("logrotate")
    lines = frame[:TRAIN].to_json(orient="records", lines=True).splitlines()
    log, recipe, rules = folder / "events.jsonl", folder / "recipe.toml", folder / "rotate.conf"
    log.write_text("\n".join(lines[:500]) + "\n")
    folder.chmod(0o755)
    rules.write_text(f"{log} {{\n rotate 5\n create\n}}\n")
    rules.chmod(0o644)
    call(program, "init", log, "--label", "answer", "--out", recipe)
    command = [program, "learn", recipe, "--from", f"tail:{log}", "--out", folder / "learn", "--json", "--until-events", TRAIN]
    follower = subprocess.Popen([str(c) for c in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for part in range(500, TRAIN, 500):
        time.sleep(0.3)
        if part in (1000, 2000, 3000):
            run("logrotate", "--force", "--state", folder / "state", rules)
        with open(log, "a") as file:
            file.write("\n".join(lines[part : part + 500]) + "\n")
    try:
        said, errors = follower.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        follower.kill()
        raise Failed("learn: not all rows came")
    if follower.returncode:
        raise Failed(f"learn: {errors[-200:]}")
    summary = json_of(said)
    if summary["events"] != TRAIN:
        raise Failed(f"learn: {summary['events']} of {TRAIN} rows")
    return TRAIN, figure(summary), None


def pictures(program, folder, _frame):
    recipe, photos = folder / "recipe.toml", images(folder / "photos")
    call(program, "init", photos, "--out", recipe)
    summary = json_of(call(program, "learn", recipe, "--from", "data:", "--out", folder / "learn", "--json"))
    call(program, "train", recipe, "--out", folder / "train", "--set", "batch.epochs=10")
    shown = len(call(program, "predict", folder / "train", "--data", photos).strip().splitlines()) - 1
    # A fifth is kept for validation.
    if (summary["events"], shown) != (96, 120):
        raise Failed(f"{summary['events']} of 96 images learned from, {shown} of 120 predicted")
    accuracy = json_of(call(program, "eval", folder / "train", "--json"))["figures"]["accuracy"]
    return 120, figure(summary), (accuracy,)


def said(program, *arguments):
    done = subprocess.run([str(a) for a in (program, *arguments)], text=True, capture_output=True)
    return done.returncode, done.stderr


def cut_table(program, folder, frame):
    """Half of a gzipped table: an error that says so, in each command, after what could be read."""
    whole = gzip.compress(frame[:TRAIN].to_csv(index=False).encode())
    path, recipe = folder / "half.csv.gz", folder / "recipe.toml"
    path.write_bytes(whole[: len(whole) // 2])
    (folder / "whole.csv.gz").write_bytes(whole)
    call(program, "init", folder / "whole.csv.gz", "--label", "answer", "--out", recipe)
    for name, status, errors in (
        ("init", *said(program, "init", path, "--label", "answer", "--out", folder / "other.toml")),
        ("learn", *said(program, "learn", recipe, "--from", path, "--out", folder / "learn")),
        ("train", *said(program, "train", recipe, "--out", folder / "train", "--set", f"batch.data.table.path={path}")),
    ):
        if status in (0, 101) and name != "init" or path.name not in errors and name != "init":
            raise Failed(f"{name}: status {status}: {errors.strip().splitlines()[-1][:200]}")
        if name == "init" and status == 0 and "cut" not in errors:
            raise Failed("init: says nothing of the cut")
    return TRAIN, None, None


def cut_photo(program, folder, _frame):
    """Half of a JPEG file: an error that names it, or left out and counted where the recipe says so."""
    photos, recipe = images(folder / "photos"), folder / "recipe.toml"
    photo = photos / "red/01.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    call(program, "init", photos, "--out", recipe)
    few = ["--out", folder / "train", "--force", "--set", "batch.epochs=1"]
    status, errors = said(program, "train", recipe, *few)
    if status == 0 or "01.jpg" not in errors:
        raise Failed(f"train: status {status}: {errors[-200:]}")
    skip = ["--set", "batch.data.image_directory.broken_files=skip", "--set", "batch.validation.image_directory.broken_files=skip"]
    status, errors = said(program, "train", recipe, *few, *skip)
    if status or "1 broken sample" not in errors:
        raise Failed(f"train, broken files left out: status {status}: {errors[-200:]}")
    return 120, None, None


JOBS = {
    "pandas, with its index": file_job(pandas_index),
    "pandas, without": file_job(pandas_plain),
    "Excel, German": file_job(excel),
    "NumPy, .npz": file_job(numpy_arrays),
    "Weka's ARFF": file_job(weka),
    "MOA's ARFF": file_job(moa, None),
    "PostgreSQL's COPY": file_job(postgres),
    "jq, an array over lines": file_job(jq),
    "Redis, XADD": broker_job(redis),
    "NATS, JetStream": broker_job(nats),
    "logrotate, followed": rotated,
    "ImageMagick": pictures,
    "half a gzip file": cut_table,
    "half a JPEG file": cut_photo,
}


OTHER_ROWS = ("ImageMagick", "NumPy, .npz")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    frame = rows()
    with tempfile.TemporaryDirectory() as folder:
        plain = pandas_plain(frame, pathlib.Path(folder) / "rows")
        table = linear.Rows.read(plain, True, ",", "answer")
    train, test = table.take(range(TRAIN)), table.take(range(TRAIN, TRAIN + TEST))
    # A recipe keeps a fifth of the training rows for validation; both models then learn from as many.
    bars = (linear.online(train, TRAIN), linear.batch(train.shuffled().take(range(TRAIN * 4 // 5)), test))
    print(f"River {text(bars[0])}, scikit-learn {text(bars[1])} on the same rows\n")
    print("| written by | rows | learn | train | |\n| --- | --- | --- | --- | --- |", flush=True)
    failed = False
    for name, job in JOBS.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                count, *figures = job(program, pathlib.Path(folder), frame)
            except Missing as what:
                print(f"| {name} | | | | not run: {what} is missing |", flush=True)
                continue
            except Failed as why:
                failed = True
                print(f"| {name} | | | | {why} |", flush=True)
                continue
        compared = [(w, f, b) for w, f, b in zip(("learn", "train"), figures, bars) if f and name not in OTHER_ROWS]
        below = [f"{what} is below" for what, f, b in compared if linear.below(f, b, TEST)]
        failed |= bool(below)
        fault = ", ".join(below)
        print(f"| {name} | {count:,} | {' | '.join(text(f) for f in figures)} | {fault} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
