"""The jobs of online learning, the bars they must reach, and Tidemill's command for each: the one place that names its
recipes. Words in capitals are filled in: TIDEMILL the binary, EXAMPLES the folder of built examples, STREAMS the folder that
streams.py fills, DATA the datasets, OUT a fresh run folder.

`learn --json` ends standard output with one line of JSON that has `events`, `wall_seconds`, `events_per_second` and
`prequential` with `accuracy` and `log_loss`; `online_step` prints `{"microseconds": …}` for one predict and one learn.
"""

import dataclasses

SEED = 1


def learn(recipe, source, *overrides):
    settings = [part for override in overrides for part in ("--set", override)]
    return ["TIDEMILL", "learn", f"recipes/{recipe}.toml", *settings, "--from", source, "--out", "OUT", "--json"]


def elec2(rate, loss, *layers):
    """Elec2 learned by a model of the twin; dense layers as (units, activation)."""
    dense = [f'{{dense={{units={units}, activation="{activation}"}}}}' for units, activation in layers]
    return learn(
        "elec2", "DATA/electricity/elec2_8.csv.gz", f"model.layers=[{', '.join(dense)}]", f'training.loss="{loss}"',
        f"training.optimizer={{sgd={{learning_rate={rate}}}}}", f"training.seed={SEED}",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A model on Elec2, beside its NumPy twin: at least `bar`, and within `within` of the twin."""

    name: str
    title: str
    model: str  # of online_twin.py
    rate: float
    tidemill: list
    bar: float = 0.91
    within: float = 0.001


@dataclasses.dataclass(frozen=True)
class Step:
    """Predict and learn one sample by library calls; at most `bar` microseconds."""

    name: str
    title: str
    layers: tuple
    peers: tuple
    bar: float

    @property
    def tidemill(self):
        return ["EXAMPLES/online_step", "--net", "-".join(map(str, self.layers))]

    def asdict(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Throughput:
    """A whole stream, from its bytes to metrics; events a second."""

    name: str
    title: str
    stream: str  # of streams.py
    tidemill: list
    bar: float = 0.0  # events a second
    vw: str = ""  # the same stream for Vowpal Wabbit
    vw_bar: float = 0.0  # how many times its speed
    equal_loss: bool = False  # only those settings of it count whose loss is not above Tidemill's
    stdin: bool = False


def sparse(name, title, rule, rate):
    """A hashed linear model with the rule and rate of the least loss, of the rates that Vowpal Wabbit may choose from, too."""
    settings = f"online.linear.rule={rule}", f"online.linear.learning_rate={rate}"
    command = learn("hashed-logistic", f"STREAMS/{name}.vw", *settings)
    return Throughput(f"sparse-{name}", title, f"{name}.vw", command, vw=f"{name}.vw", vw_bar=1.3, equal_loss=True)


ACCURACY_JOBS = [
    Accuracy("logistic", "Elec2, logistic regression", "logistic", 0.5, elec2(0.5, "binary_crossentropy", (1, "linear"))),
    Accuracy("mlp", "same, MLP 8-32-1", "mlp", 0.1, elec2(0.1, "binary_crossentropy", (32, "tanh"), (1, "linear"))),
    Accuracy(
        "mlp-deep", "same, MLP 8-32-32-2", "mlp-deep", 0.05,
        elec2(0.05, "sparse_categorical_crossentropy", (32, "tanh"), (32, "tanh"), (2, "linear")),
    ),
]  # fmt: skip

STEP_JOBS = [
    Step("step-8", "8-32-32-2, predict + learn, SGD", (8, 32, 32, 2), ("PyTorch", "JAX", "NumPy", "deep-river", "River LR"), 2.0),
    Step("step-784", "784-128-10, predict + learn, SGD", (784, 128, 10), ("PyTorch", "JAX", "NumPy"), 20.0),
]

THROUGHPUT_JOBS = [
    Throughput(
        "csv", "logistic regression, 8 features, CSV", "elec2.csv", learn("elec2-logistic", "STREAMS/elec2.csv"),
        bar=1e6, vw="elec2.vw", vw_bar=1.0,
    ),
    sparse("adult", "hashed logistic 2^18, VW text: adult", "adaptive", 0.5),
    sparse("sms", "same: SMS spam", "normalized_adaptive", 10.0),
    sparse("kdd", "same: KDD-99", "normalized", 10.0),
    Throughput(
        "ndjson", "784-128-10 from NDJSON on standard input", "mnist.ndjson", learn("mnist-online", "stdin:"),
        bar=40e3, stdin=True,
    ),
]  # fmt: skip

# What Vowpal Wabbit may use: each is tuned by its learning rate once, then timed in every round.
VW_SETTINGS = ["", "--sgd", "--adaptive", "--power_t 0"]
VW_RATES = [0.03, 0.1, 0.5, 2.0, 10.0]
