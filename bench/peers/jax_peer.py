"""JAX on the CPU, jit with donated state: `jax_peer.py step` calls once a step, `jax_peer.py scan` once in many steps."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from data import batches
from vision import MODELS, PARAMETERS
from worker import Worker

# Steps of one call of the scanned variant.
SCAN_STEPS = 64


def convolve(x, w, stride=1):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x, by_window):
    if by_window:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def glorot(random, *shape):
    fan_in, fan_out = int(np.prod(shape[:-1])), int(np.prod(shape[:-2])) * shape[-1]
    return jnp.asarray(random.uniform(-1, 1, shape) * (6 / (fan_in + fan_out)) ** 0.5, jnp.float32)


def dense(random, units_in, units):
    return {"w": glorot(random, units_in, units), "b": jnp.zeros(units)}


def init_norm(channels):
    return {"gamma": jnp.ones(channels), "beta": jnp.zeros(channels)}, {"mean": jnp.zeros(channels), "var": jnp.ones(channels)}


def batch_norm(x, p, running, updates):
    mean = x.mean((0, 1, 2))
    var = (x * x).mean((0, 1, 2)) - mean * mean
    updates.append({"mean": 0.9 * running["mean"] + 0.1 * mean, "var": 0.9 * running["var"] + 0.1 * var})
    scale = p["gamma"] * lax.rsqrt(var + 1e-5)
    return x * scale + (p["beta"] - mean * scale)


def mlp():
    random = np.random.default_rng(1)
    parameters = [dense(random, 784, 128), dense(random, 128, 10)]

    def apply(p, running, x):
        return jax.nn.relu(x @ p[0]["w"] + p[0]["b"]) @ p[1]["w"] + p[1]["b"], running

    return parameters, [], apply


def cnn(by_window):
    random = np.random.default_rng(1)
    convs = [{"w": glorot(random, 3, 3, i, o), "b": jnp.zeros(o)} for i, o in ((1, 32), (32, 64))]
    parameters = [*convs, dense(random, 3136, 128), dense(random, 128, 10)]

    def apply(p, running, x):
        for layer in p[:2]:
            x = max_pool(jax.nn.relu(convolve(x, layer["w"]) + layer["b"]), by_window)
        x = jax.nn.relu(x.reshape(x.shape[0], -1) @ p[2]["w"] + p[2]["b"])
        return x @ p[3]["w"] + p[3]["b"], running

    return parameters, [], apply


def resnet20():
    random = np.random.default_rng(1)
    plan = [(3, 16, 3, 1)]  # channels in and out, kernel, stride
    cin = 16
    for stage, cout in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            plan += [(cin, cout, 3, stride), (cout, cout, 3, 1)]
            if stride == 2:
                plan.append((cin, cout, 1, 2))
            cin = cout
    norms = [init_norm(o) for _, o, _, _ in plan]
    convs = [glorot(random, k, k, i, o) for i, o, k, _ in plan]
    parameters = {"convs": convs, "norms": [n[0] for n in norms], "head": dense(random, 64, 10)}

    def apply(p, running, x):
        updates = []

        def unit(x):
            i = len(updates)
            return batch_norm(convolve(x, p["convs"][i], plan[i][3]), p["norms"][i], running[i], updates)

        x = jax.nn.relu(unit(x))
        for stage in range(3):
            for block in range(3):
                y = unit(jax.nn.relu(unit(x)))
                x = jax.nn.relu(y + (unit(x) if stage and not block else x))
        return x.mean((1, 2)) @ p["head"]["w"] + p["head"]["b"], updates

    return parameters, [n[1] for n in norms], apply


class Vision:
    """Makes the layers of a model of `vision`, with given parameters or, in a first call, new ones."""

    relu, hard_swish = staticmethod(jax.nn.relu), staticmethod(jax.nn.hard_swish)
    hard_sigmoid, mean = staticmethod(jax.nn.hard_sigmoid), staticmethod(lambda x: x.mean((1, 2)))
    max_pool = staticmethod(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"))

    def __init__(self, parameters=None, running=None):
        self.random = np.random.default_rng(1)
        self.given, self.parameters, self.running, self.updates = parameters, parameters or [], running or [], []
        self.at = 0

    def next(self, make):
        if self.given is None:
            self.parameters.append(make())
        self.at += 1
        return self.parameters[self.at - 1]

    def unit(self, x, filters, kernel, stride=1, depthwise=False):
        cin = 1 if depthwise else x.shape[-1]
        p = self.next(lambda: {"w": glorot(self.random, kernel, kernel, cin, filters), "norm": init_norm(filters)[0]})
        if self.given is None:
            self.running.append(init_norm(filters)[1])
        names = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, p["w"], (stride, stride), "SAME", dimension_numbers=names,
                                     feature_group_count=x.shape[-1] // cin)  # fmt: skip
        return batch_norm(x, p["norm"], self.running[len(self.updates)], self.updates)

    def dense(self, x, units):
        p = self.next(lambda: dense(self.random, x.shape[-1], units))
        return x @ p["w"] + p["b"]


def vision(kind):
    made = Vision()
    with jax.ensure_compile_time_eval():
        MODELS[kind](made, jnp.zeros((1, 224, 224, 3)))
    assert sum(p.size for p in jax.tree.leaves(made.parameters)) == PARAMETERS[kind]

    def apply(p, running, x):
        net = Vision(p, running)
        return MODELS[kind](net, x), net.updates

    return made.parameters, made.running, apply


def make_step(job, by_window):
    made = {"mlp": mlp, "cnn": lambda: cnn(by_window), "resnet": resnet20}.get(job["model"], lambda: vision(job["model"]))
    parameters, running, apply = made()
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)
    slots = {"sgd": lambda: (), "momentum": zeros, "adam": lambda: (zeros(), zeros(), jnp.zeros(()))}[job["optimizer"]]()

    def loss_of(p, running, x, y):
        logits, running = apply(p, running, x)
        picked = jnp.take_along_axis(logits, y[:, None], 1)[:, 0]
        return (jax.nn.logsumexp(logits, 1) - picked).mean(), running

    def step(state, x, y):
        p, running, slots = state
        (loss, running), g = jax.value_and_grad(loss_of, has_aux=True)(p, running, x, y)
        if job["optimizer"] == "sgd":
            p = jax.tree.map(lambda p, g: p - 0.01 * g, p, g)
        elif job["optimizer"] == "momentum":
            slots = jax.tree.map(lambda v, g, p: 0.9 * v + g + 1e-4 * p, slots, g, p)
            p = jax.tree.map(lambda p, v: p - 0.1 * v, p, slots)
        else:
            m, v, count = slots
            count = count + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
            p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v)
            slots = (m, v, count)
        return (p, running, slots), loss

    return (parameters, running, slots), step


def build(job, scanned, by_window):
    state, step = make_step(job, by_window)
    images, labels = batches(job)
    position = 0
    if scanned:
        images, labels = (a[np.arange(SCAN_STEPS) % len(a)][None] for a in (images, labels))
        many = jax.jit(lambda s, x, y: lax.scan(lambda c, b: step(c, *b), s, (x, y)), donate_argnums=0)
        call, each = many, SCAN_STEPS
    else:
        call, each = jax.jit(step, donate_argnums=0), 1
    xs, ys = [jnp.asarray(x) for x in images], [jnp.asarray(y) for y in labels]

    def run(steps):
        nonlocal state, position
        calls = -(-steps // each)
        for _ in range(calls):
            state, loss = call(state, xs[position], ys[position])
            position = (position + 1) % len(xs)
        return calls * each, float(loss[-1] if scanned else loss)

    return run


def variants(mode):
    def of_job(job):
        # XLA runs convolutions inside a loop about fifty times slower than outside: nobody's best setting.
        if mode == "scan" and job["model"] != "mlp":
            return {}
        pools = {"window pool": True, "reshaped pool": False} if job["model"] == "cnn" else {"plain": False}
        return {name: functools.partial(build, job, mode == "scan", by_window) for name, by_window in pools.items()}

    return of_job


if __name__ == "__main__":
    Worker(variants(sys.argv[1]), {"jax": jax.__version__}).serve()
