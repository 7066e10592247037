"""TensorFlow on two threads: `tensorflow_peer.py step` calls a `tf.function` once a step, with XLA and without;
`tensorflow_peer.py loop` once in many steps, with XLA.
"""

import functools
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from data import batches  # noqa: E402
from vision import MODELS, PARAMETERS  # noqa: E402
from worker import Worker  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(1)

# Steps of one call of the looped variant.
LOOP_STEPS = 64


class Model:
    """Variables in the order in which they are made; `__call__` builds the graph in training mode."""

    def __init__(self, kind):
        self.kind, self.random = kind, np.random.default_rng(1)
        self.weights, self.running = [], []
        if kind == "mlp":
            self.layers = [self.dense(784, 128), self.dense(128, 10)]
        elif kind == "cnn":
            self.layers = [self.conv(3, 1, 32), self.conv(3, 32, 64), self.dense(3136, 128), self.dense(128, 10)]
        else:
            self.units = [self.unit(3, 3, 16, 1)]
            cin = 16
            for stage, cout in enumerate((16, 32, 64)):
                for block in range(3):
                    stride = 2 if stage and not block else 1
                    self.units += [self.unit(3, cin, cout, stride), self.unit(3, cout, cout, 1)]
                    if stride == 2:
                        self.units.append(self.unit(1, cin, cout, 2))
                    cin = cout
            self.head = self.dense(64, 10)

    def variable(self, value, trained=True):
        made = tf.Variable(np.asarray(value, np.float32))
        (self.weights if trained else self.running).append(made)
        return made

    def glorot(self, *shape):
        fan_in, fan_out = int(np.prod(shape[:-1])), int(np.prod(shape[:-2])) * shape[-1]
        return self.variable(self.random.uniform(-1, 1, shape) * (6 / (fan_in + fan_out)) ** 0.5)

    def dense(self, units_in, units):
        return self.glorot(units_in, units), self.variable(np.zeros(units))

    def conv(self, kernel, cin, cout):
        return self.glorot(kernel, kernel, cin, cout), self.variable(np.zeros(cout))

    def unit(self, kernel, cin, cout, stride):
        norm = (self.variable(np.ones(cout)), self.variable(np.zeros(cout)))
        running = (self.variable(np.zeros(cout), False), self.variable(np.ones(cout), False))
        return self.glorot(kernel, kernel, cin, cout), norm, running, stride

    def apply_unit(self, x, unit, depthwise=None):
        w, (gamma, beta), (mean, var), stride = unit
        x = depthwise(x, w) if depthwise else tf.nn.conv2d(x, w, stride, "SAME")
        x, batch_mean, batch_var = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-5, is_training=True)
        mean.assign(0.9 * mean + 0.1 * batch_mean)
        var.assign(0.9 * var + 0.1 * batch_var)
        return x

    def __call__(self, x, by_window):
        if self.kind == "resnet":
            units = iter(self.units)
            x = tf.nn.relu(self.apply_unit(x, next(units)))
            for stage in range(3):
                for block in range(3):
                    y = tf.nn.relu(self.apply_unit(x, next(units)))
                    y = self.apply_unit(y, next(units))
                    x = tf.nn.relu(y + (self.apply_unit(x, next(units)) if stage and not block else x))
            return tf.reduce_mean(x, (1, 2)) @ self.head[0] + self.head[1]
        layers = list(self.layers)
        if self.kind == "cnn":
            for w, b in layers[:2]:
                x = tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME") + b)
                n, h, wide, c = x.shape
                x = tf.nn.max_pool2d(x, 2, 2, "VALID") if by_window else tf.reduce_max(
                    tf.reshape(x, (n, h // 2, 2, wide // 2, 2, c)), (2, 4))
            x = tf.reshape(x, (x.shape[0], -1))
            layers = layers[2:]
        (w1, b1), (w2, b2) = layers
        return tf.nn.relu(x @ w1 + b1) @ w2 + b2


class Vision(Model):
    """A model of `vision`: its variables are made in the first call, which must be outside of a `tf.function`."""

    def __init__(self, kind):
        self.kind, self.random = kind, np.random.default_rng(1)
        self.weights, self.running, self.made, self.at = [], [], [], None
        self(tf.zeros((1, 224, 224, 3)), True)
        assert sum(int(tf.size(w)) for w in self.weights) == PARAMETERS[kind]

    relu, hard_swish = staticmethod(tf.nn.relu), staticmethod(lambda x: x * tf.nn.relu6(x + 3) / 6)
    hard_sigmoid = staticmethod(lambda x: tf.nn.relu6(x + 3) / 6)
    mean = staticmethod(lambda x: tf.reduce_mean(x, (1, 2)))
    max_pool = staticmethod(lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"))

    def next(self, make):
        if self.at is None:
            self.made.append(make())
            return self.made[-1]
        self.at += 1
        return self.made[self.at - 1]

    def unit(self, x, filters, kernel, stride=1, depthwise=False):
        if not depthwise:
            return self.apply_unit(x, self.next(lambda: Model.unit(self, kernel, x.shape[-1], filters, stride)))
        # [k, k, 1, c] in the making, [k, k, c, 1] for the op
        unit = self.next(lambda: Model.unit(self, kernel, 1, filters, stride))
        return self.apply_unit(x, unit, lambda x, w: tf.nn.depthwise_conv2d(x, tf.reshape(w, (kernel, kernel, filters, 1)),
                                                                            (1, stride, stride, 1), "SAME"))  # fmt: skip

    def dense(self, x, units):
        w, b = self.next(lambda: Model.dense(self, x.shape[-1], units))
        return x @ w + b

    def __call__(self, x, by_window):
        out = MODELS[self.kind](self, x)
        self.at = 0
        return out


def make_step(job, by_window):
    model = (Vision if job["model"] in MODELS else Model)(job["model"])
    slot = lambda: [tf.Variable(tf.zeros_like(w)) for w in model.weights]
    first, second, count = slot(), slot(), tf.Variable(0.0)

    def step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, by_window)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        gradients = tape.gradient(loss, model.weights)
        if job["optimizer"] == "adam":
            count.assign_add(1.0)
            rate = 1e-3 * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        for w, g, m, v in zip(model.weights, gradients, first, second):
            if job["optimizer"] == "sgd":
                w.assign_sub(0.01 * g)
            elif job["optimizer"] == "momentum":
                w.assign_sub(0.1 * m.assign(0.9 * m + g + 1e-4 * w))
            else:
                m.assign(0.9 * m + 0.1 * g)
                v.assign(0.999 * v + 0.001 * g * g)
                w.assign_sub(rate * m / (tf.sqrt(v) + 1e-8))
        return loss

    return step


def build(job, jit, looped, by_window):
    step = make_step(job, by_window)
    images, labels = batches(job)
    position = 0
    if looped:
        each = LOOP_STEPS
        images, labels = (a[np.arange(each) % len(a)][None] for a in (images, labels))

        def many(x, y):
            loss = tf.constant(0.0)
            for i in tf.range(each):
                loss = step(x[i], y[i])
            return loss

        call = tf.function(many, jit_compile=jit)
    else:
        each, call = 1, tf.function(step, jit_compile=jit)
    xs, ys = [tf.constant(x) for x in images], [tf.constant(y) for y in labels]
    # The concrete function skips the signature search of every call.
    call = call.get_concrete_function(tf.TensorSpec(xs[0].shape, tf.float32), tf.TensorSpec(ys[0].shape, tf.int32))

    def run(steps):
        nonlocal position
        calls = -(-steps // each)
        for _ in range(calls):
            loss = call(xs[position], ys[position])
            position = (position + 1) % len(xs)
        return calls * each, float(loss)

    return run


def variants(mode):
    def of_job(job):
        # XLA runs convolutions inside a loop about fifty times slower than outside: nobody's best setting.
        if mode == "loop" and job["model"] != "mlp":
            return {}
        pools = {"": True, "reshaped pool, ": False} if job["model"] == "cnn" else {"": True}
        out = {}
        for pool, by_window in pools.items():
            out[f"{pool}jit"] = functools.partial(build, job, True, mode == "loop", by_window)
            if mode == "step":
                out[f"{pool}no jit"] = functools.partial(build, job, False, False, by_window)
        return out

    return of_job


if __name__ == "__main__":
    Worker(variants(sys.argv[1]), {"tensorflow": tf.__version__}).serve()
