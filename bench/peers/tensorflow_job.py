"""Whole job in TensorFlow: `tensorflow_job.py loop OUT` (an epoch in one XLA call) or `tensorflow_job.py keras OUT` (`fit`)."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402

from job_data import BATCH, EPOCHS, initial, mnist_u8, orders, save  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(2)


def with_keras(images, labels):
    import keras

    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  jit_compile=True, steps_per_execution=75)  # fmt: skip
    model.fit(images.astype("float32") / 255, labels, BATCH, EPOCHS, verbose=0)
    return model.get_weights()


def with_loop(images, labels):
    images, labels = tf.constant(images), tf.constant(labels)
    w = [tf.Variable(x) for x in initial()]
    m, v = ([tf.Variable(tf.zeros_like(x)) for x in w] for _ in range(2))
    count = tf.Variable(0.0)

    @tf.function(jit_compile=True)
    def epoch(order):
        for i in tf.range(order.shape[0]):
            x = tf.cast(tf.gather(images, order[i]), tf.float32) / 255
            y = tf.cast(tf.gather(labels, order[i]), tf.int32)
            with tf.GradientTape() as tape:
                logits = tf.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            count.assign_add(1.0)
            rate = 1e-3 * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
            for wi, gi, mi, vi in zip(w, tape.gradient(loss, w), m, v):
                mi.assign(0.9 * mi + 0.1 * gi)
                vi.assign(0.999 * vi + 0.001 * gi * gi)
                wi.assign_sub(rate * mi / (tf.sqrt(vi) + 1e-8))

    for order in orders(len(labels)):
        epoch(tf.constant(order, tf.int32))
    return [x.numpy() for x in w]


save({"keras": with_keras, "loop": with_loop}[sys.argv[1]](*mnist_u8()))
