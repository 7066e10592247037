"""Predict, then learn, one sample at a time: `online_peer.py pytorch|jax|numpy|deep-river|river` (worker.py is the protocol).

A prediction is the class as a Python integer, since an online learner must know it before the label; where one forward pass
can serve both, it does.
"""

import pathlib
import sys

import numpy as np

from data import mnist
from worker import Worker

RATE, EVENTS = 0.01, 512


def samples(layers):
    """Inputs [n, features] and labels [n]."""
    if layers[0] == 784:
        images, labels = mnist()
        return images[:EVENTS].reshape(EVENTS, 784), labels[:EVENTS]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(EVENTS, layers[0])).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int32)


def loop(step, xs, ys):
    """`step` gives the predicted class; the share of wrong ones stands for the loss."""
    position, wrong = 0, 0

    def run(steps):
        nonlocal position, wrong
        wrong = 0
        for _ in range(steps):
            wrong += step(xs[position], ys[position]) != ys[position]
            position = (position + 1) % EVENTS
        return steps, float(wrong) / steps

    return run


def torch_variants(job):
    import torch
    from torch import nn

    def build(threads, optimizer):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        widths = job["layers"]
        layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
        model = nn.Sequential(*layers)
        parameters = list(model.parameters())
        fused = torch.optim.SGD(parameters, RATE, fused=True)
        x, labels = samples(widths)
        xs = list(torch.from_numpy(x)[:, None].unbind(0))
        truths = list(torch.from_numpy(labels).long()[:, None].unbind(0))
        at = 0

        def step(x, y):
            nonlocal at
            logits = model(x)
            predicted = logits.argmax().item()
            loss = nn.functional.cross_entropy(logits, truths[at])
            at = (at + 1) % EVENTS
            if optimizer:
                fused.zero_grad(set_to_none=True)
                loss.backward()
                fused.step()
            else:
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-RATE)
            return predicted

        return loop(step, xs, labels.tolist())

    return {
        f"{name}, {threads} threads": lambda t=threads, o=optimizer: build(t, o)
        for threads in (1, 2) for name, optimizer in (("autograd and foreach", False), ("fused SGD", True))
    }  # fmt: skip


def jax_variants(job):
    import jax
    import jax.numpy as jnp

    def build(on_host):
        widths = job["layers"]
        rng = np.random.default_rng(1)
        net = [
            (jnp.asarray(rng.normal(size=(a, b)) / np.sqrt(a), jnp.float32), jnp.zeros(b)) for a, b in zip(widths, widths[1:])
        ]

        def loss_of(net, x, y):
            for weight, bias in net[:-1]:
                x = jax.nn.relu(x @ weight + bias)
            logits = x @ net[-1][0] + net[-1][1]
            return -jax.nn.log_softmax(logits)[y], logits.argmax()

        def learn(net, x, y):
            gradients, predicted = jax.grad(loss_of, has_aux=True)(net, x, y)
            return jax.tree.map(lambda p, g: p - RATE * g, net, gradients), predicted

        learn = jax.jit(learn, donate_argnums=0)
        x, labels = samples(widths)
        xs = list(x) if on_host else [jax.device_put(row) for row in x]
        truths = list(labels) if on_host else [jax.device_put(label) for label in labels]
        at = 0

        def step(x, y):
            nonlocal net, at
            net, predicted = learn(net, x, truths[at])
            at = (at + 1) % EVENTS
            return int(predicted)

        return loop(step, xs, labels.tolist())

    return {"jit, donated, NumPy inputs": lambda: build(True), "jit, donated, device inputs": lambda: build(False)}


def numpy_variants(job):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    import online_twin as twin
    from threadpoolctl import threadpool_limits

    def build():
        threadpool_limits(1)
        widths = job["layers"]
        net = twin.layers(widths[0], widths[1:], 1)
        value, slope = twin.ACTIVATIONS["relu"]
        x, labels = samples(widths)
        rate = np.float32(RATE)

        def step(x, y):
            seen = twin.forward(net, x, value)
            gradient = twin.probabilities(seen[-1])
            predicted = int(gradient.argmax())
            gradient[y] -= 1
            twin.learn(net, seen, gradient, rate, slope)
            return predicted

        return loop(step, list(x), labels.tolist())

    return {"1 thread": build}


def deep_river_variants(job):
    import torch
    from deep_river.classification import Classifier
    from torch import nn

    widths = job["layers"]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*[p for a, b in zip(widths, widths[1:]) for p in (nn.Linear(a, b), nn.ReLU())][:-1])

        def forward(self, x):
            return self.layers(x)

    def build(threads):
        torch.set_num_threads(threads)
        model = Classifier(module=Net(), loss_fn="cross_entropy", optimizer_fn="sgd", lr=RATE)
        x, labels = samples(widths)
        rows = [{f"x{i}": float(v) for i, v in enumerate(row)} for row in x]

        def step(x, y):
            predicted = model.predict_one(x)
            model.learn_one(x, y)
            return predicted

        return loop(step, rows, labels.tolist())

    return {f"{threads} threads": lambda t=threads: build(t) for threads in (1, 2)}


def river_variants(job):
    from river import linear_model, optim

    def build():
        model = linear_model.LogisticRegression(optim.SGD(RATE))
        x, labels = samples(job["layers"])
        rows = [{f"x{i}": float(v) for i, v in enumerate(row)} for row in x]

        def step(x, y):
            predicted = model.predict_one(x)
            model.learn_one(x, bool(y))
            return predicted

        return loop(step, rows, labels.tolist())

    return {"logistic regression": build}


# Variants, and the packages whose versions are told.
KINDS = {
    "pytorch": (torch_variants, ["torch"]),
    "jax": (jax_variants, ["jax"]),
    "numpy": (numpy_variants, ["numpy"]),
    "deep-river": (deep_river_variants, ["deep-river"]),
    "river": (river_variants, ["river"]),
}


def versions(packages):
    from importlib.metadata import version

    return {name: version(name) for name in packages}


if __name__ == "__main__":
    variants, packages = KINDS[sys.argv[1]]
    Worker(variants, versions(packages)).serve()
