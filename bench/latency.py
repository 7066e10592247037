#!/usr/bin/env python3
"""Offers events to `tidemill learn` at a steady rate and shows how long they take from acknowledged
to learned, and that none is lost and none learned twice: the weights must be those, bit by bit, of the
same events read from a file. Run by hand:

    cargo build --release -p tidemill-cli --features nats,redis
    python3 bench/latency.py --seconds 60

The client acknowledges in windows, as real ones do: each millisecond it sends the events that are
due in one request (HTTP) or one write (NATS, Redis), and collects the answers. The learner itself
measures, with the clock of the same machine; a Redis id has milliseconds only, rounded down, so
that its figures are up to one too high.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from samples import samples

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = """
[model]
input  = {{ features = 8 }}
layers = [{{ dense = {{ units = 32, activation = "relu" }} }}, {{ dense = {{ units = 32, activation = "relu" }} }}, {{ dense = {{ units = 2 }} }}]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ sgd = {{ learning_rate = 0.01 }} }}
[stream]
format = "json"
{more}
"""


def lines(number):
    """The same events each time, as JSON."""
    out = []
    for values, label in samples(number):
        numbers = ",".join(f"{v:.4f}" for v in values)
        out.append(f'{{"x":[{numbers}],"y":{label}}}'.encode())
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Client:
    """A connection whose answers are read by a thread of its own."""

    def __init__(self, port):
        end = time.time() + 20
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                if time.time() > end:
                    raise
                time.sleep(0.01)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.acknowledged = 0
        self.failed = None

    def read_answers(self):
        try:
            while True:
                self.acknowledged += self.answer()
        except (OSError, ValueError) as error:
            self.failed = error


class Http(Client):
    def batch(self, events):
        body = b"\n".join(events)
        head = f"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def answer(self):
        status, length = self.file.readline(), 0
        if b" 200 " not in status:
            raise ValueError(f"refused: {status}")
        while (line := self.file.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self.file.read(length))["accepted"]


class Nats(Client):
    def __init__(self, port):
        super().__init__(port)
        self.file.readline()
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.acks 1\r\n')
        make = b'{"name":"EVENTS","subjects":["events.>"],"storage":"file"}'
        self.socket.sendall(b"PUB $JS.API.STREAM.CREATE.EVENTS _INBOX.acks %d\r\n%s\r\n" % (len(make), make))
        self.answer()

    def batch(self, events):
        return b"".join(b"PUB events.a _INBOX.acks %d\r\n%s\r\n" % (len(e), e) for e in events)

    def answer(self):
        line = self.file.readline().strip()
        if line == b"PING":
            self.socket.sendall(b"PONG\r\n")
            return 0
        if not line.startswith(b"MSG "):
            raise ValueError(f"unexpected: {line}")
        answer = self.file.read(int(line.split()[-1]) + 2)
        if b'"error"' in answer:
            raise ValueError(f"refused: {answer}")
        return 1


class Redis(Client):
    def batch(self, events):
        head = b"*5\r\n$4\r\nXADD\r\n$6\r\nevents\r\n$1\r\n*\r\n$5\r\nevent\r\n"
        return b"".join(head + b"$%d\r\n%s\r\n" % (len(e), e) for e in events)

    def answer(self):
        line = self.file.readline().strip()
        if not line.startswith(b"$"):
            raise ValueError(f"refused: {line}")
        self.file.read(int(line[1:]) + 2)
        return 1


def server(kind, port, folder):
    """Starts the broker; none is needed for HTTP."""
    if kind == "nats":
        config = folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}", max_file_store: 2GB }}\n')
        command = ["nats-server", "-c", str(config)]
    elif kind == "redis":
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        command += ["--appendonly", "yes", "--save", ""]
    else:
        return None
    if not shutil.which(command[0]):
        raise FileNotFoundError(f"{command[0]} is not installed (apt-get install {command[0]})")
    log = open(folder / "server.out", "w")
    return subprocess.Popen(command, stdout=log, stderr=log)


def offer(client, events, rate, period):
    """Sends events when they are due; gives the seconds that took."""
    start, sent = time.perf_counter(), 0
    while sent < len(events):
        due = min(len(events), int((time.perf_counter() - start) * rate) + 1)
        if due > sent:
            client.socket.sendall(client.batch(events[sent:due]))
            sent = due
        time.sleep(max(0.0, start + sent / rate + period - time.perf_counter()))
    while client.acknowledged < sent and client.failed is None:
        time.sleep(0.001)
    if client.failed:
        raise client.failed
    return time.perf_counter() - start


def measure(kind, args):
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = pathlib.Path(folder)
        recipe, run, port = folder / "recipe.toml", folder / "run", free_port()
        recipe.write_text(RECIPE.format(more=args.recipe_more))
        events = lines(int(args.rate * args.seconds))
        broker = server(kind, port, folder)
        learner = None
        try:
            kinds = {"http": (Http, ""), "nats": (Nats, "/EVENTS"), "redis": (Redis, "/events")}
            make, path = kinds[kind]
            client = make(port) if broker else None
            command = [args.tidemill, "learn", recipe, "--from", f"{kind}://127.0.0.1:{port}{path}"]
            command += ["--out", run, "--until-events", str(len(events)), "--threads", "1"]
            learner = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            client = client or make(port)
            # The learner has connected.
            time.sleep(0.5)
            threading.Thread(target=client.read_answers, daemon=True).start()
            seconds = offer(client, events, args.rate, args.period)
            if learner.wait(timeout=60) != 0:
                raise RuntimeError("the learner failed")
            summary = json.loads((run / "summary.json").read_text())
            stored, again = folder / "events.ndjson", folder / "again"
            stored.write_bytes(b"\n".join(events))
            command = [args.tidemill, "learn", recipe, "--from", stored, "--out", again, "--threads", "1"]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            want = json.loads((again / "summary.json").read_text())
        finally:
            for process in (learner, broker):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()
    lost = client.acknowledged - summary["events"]
    if summary["bad_events"] or summary["shed"] or lost:
        sys.exit(f"{kind}: {lost} lost, {summary['bad_events']} bad, {summary['shed']} shed")
    for key in ("state_sha256", "events"):
        if summary[key] != want[key]:
            sys.exit(f"{kind}: {key} is {summary[key]}, and {want[key]} of the same events from a file")
    return client.acknowledged / seconds, summary


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    p.add_argument("--tidemill", default=str(target / "release/tidemill"), help="the binary")
    p.add_argument("--kinds", type=lambda s: s.split(","), default=["http", "nats", "redis"])
    p.add_argument("--rate", type=float, default=10_000, help="events a second")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--period", type=float, default=0.001, help="seconds between requests")
    p.add_argument("--folder", help="where streams are kept for the time [default: the system's]")
    p.add_argument("--recipe-more", default="", help="more lines of the recipe")
    args = p.parse_args()
    print("| source | offered a second | p50 ms | p99 ms | max ms | learned | position |\n|---|---|---|---|---|---|---|")
    worst = 0
    for kind in args.kinds:
        rate, s = measure(kind, args)
        worst = max(worst, s["lag_p99_ms"])
        figures = " | ".join(f"{s[f'lag_{k}_ms']:.2f}" for k in ("p50", "p99", "max"))
        print(f"| {kind} | {rate:,.0f} | {figures} | {s['events']:,} | {s['position']} |", flush=True)
    print(f"p99 at most 5 ms: {'yes' if worst <= 5 else 'NO'}")


if __name__ == "__main__":
    main()
