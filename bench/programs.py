"""The programs under measurement: peers that stay alive, Tidemill's binary, and whole jobs as fresh processes."""

import contextlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / "peers"


def environment():
    out = dict(os.environ)
    out.setdefault("TIDEMILL_DATA", str(ROOT.parent / "shared" / "data"))
    out.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A pool of compile processes would share the two cores with what is measured.
    out.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    return out


class Peer:
    """A worker process. Between its turns it is stopped by a signal, so that no spinning thread of it can disturb."""

    def __init__(self, name, arguments, many_steps, log, variables=None):
        self.name, self.many_steps = name, many_steps
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=PEERS, env=environment() | (variables or {}), text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        self.versions = self.ask(command="versions")

    def ask(self, **request):
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended")
        os.killpg(self.process.pid, signal.SIGSTOP)
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{self.name}: {reply['error']}")
        return reply

    def prepare(self, job, seconds):
        return self.ask(command="prepare", job=job.asdict(), seconds=seconds)

    def measure(self, job, seconds):
        return self.ask(command="measure", seconds=seconds)

    def close(self):
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_peers(names, log):
    table = {
        "PyTorch": (["torch_peer.py", "eager"], False),
        "torch.compile": (["torch_peer.py", "compile"], False),
        "JAX": (["jax_peer.py", "step"], False),
        "TensorFlow": (["tensorflow_peer.py", "step"], False),
        "JAX scan": (["jax_peer.py", "scan"], True),
        "TensorFlow loop": (["tensorflow_peer.py", "loop"], True),
    }
    peers = []
    for name in names or table:
        arguments, many_steps = table[name]
        print(f"starting {name}", file=sys.stderr)
        peers.append(Peer(name, arguments, many_steps, log))
    return peers


def recipe_arguments(recipe):
    name, *overrides = recipe.split()
    return [f"recipes/{name}.toml", *overrides]


class Tidemill:
    name, many_steps = "Tidemill", False

    def __init__(self, binary, log):
        self.binary, self.log = binary, log
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()
        self.versions = {"tidemill": version[-1]}

    def prepare(self, job, seconds):
        return {"variant": job.recipe} | self.measure(job, seconds)

    def measure(self, job, seconds):
        """The binary decides itself for how long to measure."""
        command = [self.binary, "bench", *recipe_arguments(job.recipe), "--batch-size", str(job.batch_size), "--json"]
        done = subprocess.run(command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log.write(done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
        return next(line for line in lines if line.get("batch_size") == job.batch_size)

    def close(self):
        pass


def whole_jobs(tidemill, recipe):
    """Name -> command; OUT stands for a fresh path (a file for a peer, a run folder for Tidemill)."""
    python = [sys.executable]
    out = {}
    if tidemill:
        out["Tidemill"] = [tidemill, "train", *recipe_arguments(recipe), "--out", "OUT"]
    out |= {
        "PyTorch": [*python, PEERS / "torch_job.py", "eager", "1", "OUT"],
        "PyTorch, 2 threads": [*python, PEERS / "torch_job.py", "eager", "2", "OUT"],
        "torch.compile": [*python, PEERS / "torch_job.py", "compile", "1", "OUT"],
        "torch.compile, 2 threads": [*python, PEERS / "torch_job.py", "compile", "2", "OUT"],
        "JAX": [*python, PEERS / "jax_job.py", "step", "OUT"],
        "JAX scan": [*python, PEERS / "jax_job.py", "scan", "OUT"],
        "TensorFlow loop": [*python, PEERS / "tensorflow_job.py", "loop", "OUT"],
        "Keras fit": [*python, PEERS / "tensorflow_job.py", "keras", "OUT"],
    }
    return {name: [str(part) for part in command] for name, command in out.items()}


def run_whole(command, log):
    """Wall clock from start to end, peak memory of the process, and the accuracy of what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run")
        command = [out if part == "OUT" else part for part in command]
        launch = [sys.executable, "-S", "-E", str(HERE / "launch.py"), *command]
        done = subprocess.run(launch, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True)
        taken = json.loads(done.stdout) if done.returncode == 0 else {"status": done.returncode}
        if taken.pop("status"):
            raise RuntimeError(f"{' '.join(command)}: failed, see the log")
        accuracy = peer_accuracy(out) if os.path.isfile(out) else run_accuracy(command[0], out)
    return {**taken, "accuracy": accuracy}


def peer_accuracy(path):
    """Test accuracy in percent of the four weights that a peer wrote."""
    import numpy as np

    sys.path.insert(0, str(PEERS))
    from data import mnist

    weights = []
    with open(path, "rb") as file:
        while head := file.read(8):
            weights.append(np.frombuffer(file.read(4 * struct.unpack("<q", head)[0]), np.float32))
    w1, b1, w2, b2 = weights
    images, labels = mnist("test")
    hidden = np.maximum(images.reshape(-1, 784) @ w1.reshape(784, 128) + b1, 0)
    return float(((hidden @ w2.reshape(128, 10) + b2).argmax(1) == labels).mean() * 100)


def run_accuracy(tidemill, folder):
    """Of the weights that Tidemill wrote, on the test images: measured after the job, as a peer's."""
    files = [f"{environment()['TIDEMILL_DATA']}/mnist/t10k-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1")]
    command = [tidemill, "eval", folder, "--data", *files, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return 100 * json.loads(done.stdout)["figures"]["accuracy"]
