"""The side of a peer that talks to compare.py: one JSON request a line on standard input, one JSON answer a line.

A peer offers `variants(job)`: a mapping from a name to a function that builds the job in that way. Building gives
`run(steps) -> (steps done, last loss)`: that many training steps in one go, the loss read once at the end (so once in a window, not once a step).
"""

import gc
import json
import os
import statistics
import sys
import time
import traceback


WINDOWS = 15


def measure(run, seconds):
    """Microseconds per step: the median of 15 windows, as `tidemill bench` does it, in about `seconds` in all.

    A short warm-up before finds how many steps a window takes.
    """
    run(1)  # May compile.
    steps, elapsed = 1, 0.0
    while elapsed < 0.15 * seconds:
        begin = time.perf_counter()
        done, _ = run(steps)
        elapsed = time.perf_counter() - begin
        steps *= 2
    steps, times, total = max(1, round(done * seconds / WINDOWS / elapsed)), [], 0
    for _ in range(WINDOWS):
        begin = time.perf_counter()
        done, loss = run(steps)
        times.append((time.perf_counter() - begin) / done * 1e6)
        total += done
    return {"microseconds_per_step": statistics.median(times), "steps": total, "loss": loss}


class Worker:
    def __init__(self, variants, versions):
        self.variants, self.versions, self.run = variants, versions, None

    def prepare(self, request):
        """Builds every variant of a job, probes each and keeps the fastest one."""
        self.run = None
        tried, failed, best = {}, {}, None
        for name, build in self.variants(request["job"]).items():
            gc.collect()
            try:
                run = build()
                micros = measure(run, request["seconds"])["microseconds_per_step"]
                if best is None or micros < 3 * tried[best]:
                    micros = min(micros, *(measure(run, request["seconds"])["microseconds_per_step"] for _ in range(2)))
            except Exception as error:  # A variant that a framework cannot run must not hide the others.
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            tried[name] = micros
            if best is None or micros < tried[best]:
                best, self.run = name, run
        if best is None:
            raise RuntimeError(f"no variant works: {failed}" if failed else "offers nothing for this job")
        return {"variant": best, "tried": tried, "failed": failed}

    def answer(self, request):
        command = request["command"]
        if command == "versions":
            return self.versions
        if command == "prepare":
            return self.prepare(request)
        return measure(self.run, request["seconds"])

    def serve(self):
        # Frameworks write to standard output as they like; the answers keep a descriptor of their own.
        replies = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                reply = self.answer(json.loads(line))
            except Exception as error:
                traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}"}
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
