#!/usr/bin/env python3
"""What slow senders cost others, and how long single events by HTTP take.

bench/senders.py PROGRAM [SECONDS]. A learner takes events of one sender, each answered before the next, over one connection and
over a new one each time: first alone, then beside four bodies and 256 heads of which a byte comes now and then. Milliseconds."""

import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

program, seconds = os.path.abspath(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
RECIPE = """
[model]
input = { features = 2 }
layers = [{ dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
[stream]
format = "json_lines"
label = "y"
[report]
html = false
"""
EVENT = b'{"a":0.1,"b":0.2,"y":1}'


def connect(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def measure(port: int, anew: bool) -> list[float]:
    """Milliseconds of each request."""
    took, end, connection = [], time.monotonic() + seconds, None
    while time.monotonic() < end:
        start = time.perf_counter()
        if anew or connection is None:
            connection = connect(port)
        connection.request("POST", "/events", EVENT)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"an event was answered with {answer.status}")
        if anew:
            connection.close()
        took.append((time.perf_counter() - start) * 1e3)
    return sorted(took)


class Slow:
    """Senders that send a byte each half second, and begin again when they are closed."""

    def __init__(self, port: int, count: int, head: bytes):
        self.port, self.head, self.sockets = port, head, [None] * count
        self.closed, self.stop = 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop:
            for i, open_one in enumerate(self.sockets):
                try:
                    if open_one is None:
                        self.sockets[i] = socket.create_connection(("127.0.0.1", self.port), 5)
                        self.sockets[i].sendall(self.head)
                    else:
                        open_one.sendall(b"a")
                except OSError:
                    self.closed += 1
                    self.sockets[i] = None
                # Spread, so that this program itself holds nobody up.
                time.sleep(0.5 / len(self.sockets))

    def end(self) -> None:
        self.stop = True
        self.thread.join()


def line(what: str, took: list[float]) -> None:
    at = lambda share: took[min(len(took) - 1, int(share * len(took)))]
    print(f"{what:42} {len(took):6} events  p50 {statistics.median(took):7.3f}  p99 {at(0.99):7.3f}  max {took[-1]:7.3f}")


def main(folder: str) -> None:
    with open(f"{folder}/recipe.toml", "w") as file:
        file.write(RECIPE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "learn", f"{folder}/recipe.toml", "--from", f"http://127.0.0.1:{port}", "--out", f"{folder}/run"]
    with open(f"{folder}/said.txt", "wb") as said:
        learner = subprocess.Popen(command, stdout=said, stderr=said)
    for _ in range(200):
        try:
            connect(port).close()
            break
        except OSError:
            time.sleep(0.05)
    try:
        for anew in (False, True):
            line("alone, a new connection each" if anew else "alone, one connection", measure(port, anew))
        bodies = Slow(port, 4, b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n{")
        heads = Slow(port, 256, b"POST /events HTTP/1.1\r\nHost: localhost\r\nX: ")
        time.sleep(1)
        for anew in (False, True):
            what = "beside slow ones, a new connection each" if anew else "beside slow ones, one connection"
            line(what, measure(port, anew))
        bodies.end()
        heads.end()
        print(f"slow ones closed and begun again: {bodies.closed} bodies, {heads.closed} heads")
    finally:
        learner.terminate()
        learner.wait(30)


with tempfile.TemporaryDirectory() as place:
    main(place)
