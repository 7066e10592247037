"""Whole job in JAX: `jax_job.py scan|step OUT`; scan runs a whole epoch in one call. Compiled code is cached on disk."""

import os
import sys
import tempfile

import jax
import jax.numpy as jnp
from jax import lax

from job_data import initial, mnist_u8, orders, save

jax.config.update("jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), "tidemill-bench-jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def loss_of(w, x, y):
    logits = jax.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]
    return (jax.nn.logsumexp(logits, 1) - jnp.take_along_axis(logits, y[:, None], 1)[:, 0]).mean()


def step(state, rows, images, labels):
    w, m, v, count = state
    x, y = images[rows].astype(jnp.float32) / 255, labels[rows].astype(jnp.int32)
    g = jax.grad(loss_of)(w, x, y)
    count = count + 1
    m = [0.9 * m + 0.1 * g for m, g in zip(m, g)]
    v = [0.999 * v + 0.001 * g * g for v, g in zip(v, g)]
    rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    w = [w - rate * m / (jnp.sqrt(v) + 1e-8) for w, m, v in zip(w, m, v)]
    return w, m, v, count


def epoch(state, order, images, labels):
    return lax.scan(lambda s, rows: (step(s, rows, images, labels), None), state, order)[0]


images, labels = map(jnp.asarray, mnist_u8())
w = [jnp.asarray(w) for w in initial()]
state = (w, [jnp.zeros_like(x) for x in w], [jnp.zeros_like(x) for x in w], jnp.zeros(()))
run = jax.jit(epoch if sys.argv[1] == "scan" else step, donate_argnums=0)
for order in orders(len(labels)):
    if sys.argv[1] == "scan":
        state = run(state, order.astype("int32"), images, labels)
    else:
        for rows in order.astype("int32"):
            state = run(state, rows, images, labels)
save(state[0])
