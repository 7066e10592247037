#!/usr/bin/env python3
"""What could be a stream's default instead: optimizers that tune themselves, from Optax, and pools, on the same streams.

    python bench/tuners.py STREAMS [--streams elec2,sea]        # pip install optax==0.2.8 beside requirements.txt

Each method learns the network of recipes/stream.toml with 32 units in both hidden layers, event by event, tested first, in
one JAX scan over inputs that were encoded once: numbers standardized by what came before and clipped to 3, texts one-hot in
the order in which they came, 128 of them. All are at their own defaults; none is told a learning rate but where its name
says so. Prints a table.
"""

import argparse
import csv
import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from default_streams import REGRESSION, STREAMS, make  # noqa: E402

CAPACITY, CLIP, HIDDEN, SLOPE = 128, 3.0, 32, 0.1
# Texts are words for this one, too many inputs for a dense scan.
LEFT_OUT = {"sms"}


def ours(rate):
    """The default: RMSprop of long memory with its bias corrected (here not lazy)."""
    return optax.scale_by_adam(b1=0.0, b2=0.999, eps=1e-7), optax.scale(-rate)


METHODS = {
    "the default's rule": optax.chain(*ours(2e-3)),
    "Adam 1e-3 (Keras's default)": optax.adam(1e-3),
    "SGD 0.01 (PyTorch's examples)": optax.sgd(0.01),
    "Adagrad 0.01 (River's optimizer)": optax.adagrad(0.01),
    "coin betting (COCOB)": contrib.cocob(),
    "D-adaptation (AdamW)": contrib.dadapt_adamw(),
    "Prodigy": contrib.prodigy(),
    "DoG": contrib.dog(),
    "DoWG": contrib.dowg(),
    "Mechanic on SGD": contrib.mechanize(optax.sgd(1.0)),
    "Mechanic on Adam": contrib.mechanize(optax.adam(1.0)),
    "schedule-free SGD 0.1": contrib.schedule_free_sgd(0.1),
    "schedule-free AdamW 2.5e-3": contrib.schedule_free_adamw(2.5e-3),
    "MoMo-Adam 1e-2": contrib.momo_adam(1e-2),
}


def read(path, name):
    """Encoded inputs [n, width] and labels of a stream."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    head, rows = rows[0], rows[1:]
    parts = []
    for column in range(len(head) - 1):
        texts = [row[column] for row in rows]
        try:
            [float(t) for t in texts[:100] if t]
        except ValueError:
            places = {}
            ids = [places.setdefault(t, len(places)) + 1 for t in texts]
            one_hot = np.zeros((len(rows), CAPACITY + 1), np.float32)
            one_hot[np.arange(len(rows)), [i if i <= CAPACITY else 0 for i in ids]] = 1
            parts.append(one_hot[:, one_hot.any(0)])
            continue
        values = np.array([float(t) if t else np.nan for t in texts])
        parts.append(standardized(values)[:, None])
    labels = [row[-1] for row in rows]
    if name in REGRESSION:
        return np.concatenate(parts, 1), np.array(labels, np.float32), 1
    names = sorted(set(labels))
    return np.concatenate(parts, 1), np.array([names.index(x) for x in labels], np.int32), len(names)


def standardized(values):
    """By mean and deviation up to and with each event."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    n = np.maximum(np.cumsum(known), 1)
    mean = np.cumsum(filled) / n
    deviation = np.sqrt(np.maximum(np.cumsum(filled**2) / n - mean**2, 0))
    z = np.divide(filled - mean, deviation, out=np.zeros_like(filled), where=(deviation > 0) & known)
    return np.clip(z, -CLIP, CLIP).astype(np.float32)


def initial(width, outputs, seed=1):
    random = np.random.default_rng(seed)
    sizes = [width, HIDDEN, HIDDEN, outputs]
    glorot = lambda a, b: random.uniform(-1, 1, (a, b)) * np.sqrt(6 / (a + b))  # noqa: E731
    return [(jnp.float32(glorot(a, b)), jnp.zeros(b)) for a, b in zip(sizes, sizes[1:])]


def output(w, x):
    for kernel, bias in w[:-1]:
        x = x @ kernel + bias
        x = jnp.maximum(x, SLOPE * x)
    return x @ w[-1][0] + w[-1][1]


def loss_of(w, x, y, classes):
    z = output(w, x)
    if classes > 1:
        return optax.softmax_cross_entropy_with_integer_labels(z, y), z
    return optax.huber_loss(z[0], y), z


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(method, classes, w, x, y):
    """Whether right (or the scaled absolute error) for each event."""
    optimizer = METHODS[method]

    def step(carry, event):
        w, state, (n, mean, square) = carry
        x, y = event
        if classes == 1:
            deviation = jnp.where(n > 1, jnp.sqrt(jnp.maximum(square / jnp.maximum(n, 1), 1e-12)), 1.0)
            target = (y - mean) / deviation
        else:
            target, deviation = y, 1.0
        used = contrib.schedule_free_eval_params(state, w) if method.startswith("schedule-free") else w
        shown = output(used, x)
        (value, _), g = jax.value_and_grad(loss_of, has_aux=True)(w, x, target, classes)
        more = {"value": value} if method.startswith("MoMo") else {}
        updates, state = optimizer.update(g, state, w, **more)
        w = optax.apply_updates(w, updates)
        if classes == 1:
            score = jnp.abs(shown[0] * deviation + mean - y)
            before = mean
            n, mean = n + 1, mean + (y - mean) / (n + 1)
            square = square + (y - before) * (y - mean)
        else:
            score = (jnp.argmax(shown) == y).astype(jnp.float32)
        return (w, state, (n, mean, square)), score

    start = (w, optimizer.init(w), (jnp.zeros(()), jnp.zeros(()), jnp.zeros(())))
    return lax_scan(step, start, (x, y))


def lax_scan(step, start, events):
    return jax.lax.scan(step, start, events)[1]


POOL = [0.0005, 0.001, 0.002, 0.004, 0.008]


@functools.partial(jax.jit, static_argnums=(0, 1))
def pool(hedge, classes, w, x, y):
    """Five networks at five rates of the default's rule, weighted by their losses so far (Hedge with a fixed share)."""
    optimizer = optax.scale_by_adam(b1=0.0, b2=0.999, eps=1e-7)
    rates = jnp.array(POOL)
    eta, share = hedge
    many = jax.tree.map(lambda v: jnp.stack([v] * len(POOL)), w)

    def step(carry, event):
        w, state, weights, (n, mean, square) = carry
        x, y = event
        deviation = jnp.where(n > 1, jnp.sqrt(jnp.maximum(square / jnp.maximum(n, 1), 1e-12)), 1.0) if classes == 1 else 1.0
        target = (y - mean) / deviation if classes == 1 else y
        grad = jax.vmap(jax.value_and_grad(lambda w: loss_of(w, x, target, classes), has_aux=True))
        (losses, z), g = grad(w)
        updates, state = jax.vmap(optimizer.update)(g, state)
        w = jax.tree.map(lambda w, u: w - u * rates.reshape(-1, *[1] * (u.ndim - 1)), w, updates)
        mixed = weights @ (jax.nn.softmax(z) if classes > 1 else z)
        weights = weights * jnp.exp(-eta * jnp.clip(losses, 0, 10))
        weights = (1 - share) * weights / weights.sum() + share / len(POOL)
        if classes == 1:
            score = jnp.abs(mixed[0] * deviation + mean - y)
            before = mean
            n, mean = n + 1, mean + (y - mean) / (n + 1)
            square = square + (y - before) * (y - mean)
        else:
            score = (jnp.argmax(mixed) == y).astype(jnp.float32)
        return (w, state, weights, (n, mean, square)), score

    state = jax.vmap(optimizer.init)(many)
    zero = jnp.zeros(())
    return lax_scan(step, (many, state, jnp.ones(len(POOL)) / len(POOL), (zero, zero, zero)), (x, y))



@functools.partial(jax.jit, static_argnums=(0, 1))
def hypergradient(multiplicative, classes, w, x, y):
    """SGD whose rate follows the product of successive gradients (Baydin et al. 2018)."""

    def step(carry, event):
        w, last, rate, (n, mean, square) = carry
        x, y = event
        deviation = jnp.where(n > 1, jnp.sqrt(jnp.maximum(square / jnp.maximum(n, 1), 1e-12)), 1.0) if classes == 1 else 1.0
        target = (y - mean) / deviation if classes == 1 else y
        (_, z), g = jax.value_and_grad(loss_of, has_aux=True)(w, x, target, classes)
        dot = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), g, last)))
        norms = jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(lambda a: (a * a).sum(), g))))
        norms = norms * jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(lambda a: (a * a).sum(), last)))) + 1e-12
        rate = jnp.clip(rate * (1 + 0.001 * dot / norms), 1e-6, 1.0) if multiplicative else rate + 1e-3 * dot
        w = jax.tree.map(lambda w, g: w - rate * g, w, g)
        if classes == 1:
            score = jnp.abs(z[0] * deviation + mean - y)
            before = mean
            n, mean = n + 1, mean + (y - mean) / (n + 1)
            square = square + (y - before) * (y - mean)
        else:
            score = (jnp.argmax(z) == y).astype(jnp.float32)
        return (w, g, rate, (n, mean, square)), score

    zero = jnp.zeros(())
    return lax_scan(step, (w, jax.tree.map(jnp.zeros_like, w), jnp.float32(0.01), (zero, zero, zero)), (x, y))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--streams", default=",".join(n for n in STREAMS if n not in LEFT_OUT))
    o = p.parse_args()
    names = o.streams.split(",")
    programs = {m: functools.partial(run, m) for m in METHODS}
    programs["five rates, hedged"] = functools.partial(pool, (0.3, 0.01))
    programs["hypergradient, Baydin's"] = functools.partial(hypergradient, False)
    programs["hypergradient, of the logarithm"] = functools.partial(hypergradient, True)
    scores = {m: {} for m in programs}
    for name in names:
        x, y, outputs = read(make(name, o.folder), name)
        w = initial(x.shape[1], outputs)
        for method, program in programs.items():
            score = float(np.mean(np.asarray(program(outputs, w, x, y), np.float64)))
            scores[method][name] = score if name in REGRESSION else 100 * score
            print(f"{name} {method}: {scores[method][name]:.2f}", file=sys.stderr, flush=True)
    def lost(method):
        """Points below the stream's best method, or per cent of error above it; at most 100."""
        found = []
        for n in names:
            column = [scores[m][n] for m in scores if np.isfinite(scores[m][n])]
            s = scores[method][n]
            loss = 100 * (s / min(column) - 1) if n in REGRESSION else max(column) - s
            found.append(min(loss, 100.0) if np.isfinite(loss) else 100.0)
        return float(np.mean(found))
    print("| method | " + " | ".join(names) + " | mean loss against each stream's best |")
    print("| --- |" + " --- |" * (len(names) + 1))
    for method in sorted(scores, key=lost):
        cells = " | ".join(f"{scores[method][n]:.1f}" for n in names)
        print(f"| {method} | {cells} | {lost(method):.2f} |")


if __name__ == "__main__":
    main()
