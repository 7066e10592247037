"""The jobs that are measured, the bars they must reach, and the names of Tidemill's recipes for them."""

import dataclasses

# Tidemill's side: recipes/<name>.toml, then the overrides that make it the job. Batch 1 takes MNIST like the others, not
# the digit folder of `article-sgd`.
RECIPES = {
    "mlp-sgd": "mnist-article --set training.optimizer={sgd={learning_rate=0.01}}",
    "mlp-adam": "mnist-article",
    "cnn": "mnist-cnn",
    "resnet": "cifar-resnet",
    "resnet50": "imagenet-resnet50 --set training.shards=1 --set training.loss=sparse_categorical_crossentropy",
    "mobilenet": "imagenet-resnet50 --set training.shards=1 --set training.loss=sparse_categorical_crossentropy"
    ' --set model.vision={name="mobilenet_v3_large",dropout=0.0}',
    "whole": "mnist-article",
}


@dataclasses.dataclass(frozen=True)
class Job:
    name: str
    title: str
    model: str  # mlp, cnn, resnet, resnet50 or mobilenet
    optimizer: str  # sgd, adam or momentum
    batch_size: int
    recipe: str
    bar: float  # how many times faster than the fastest peer
    pytorch_bar: float | None = None  # the same against PyTorch alone

    def asdict(self):
        return dataclasses.asdict(self)


STEP_JOBS = [
    Job("mlp-1", "MLP 784-128-10, batch 1, SGD", "mlp", "sgd", 1, RECIPES["mlp-sgd"], 3.0, 20.0),
    Job("mlp-32", "same, batch 32, Adam", "mlp", "adam", 32, RECIPES["mlp-adam"], 3.5),
    Job("mlp-256", "same, batch 256, Adam", "mlp", "adam", 256, RECIPES["mlp-adam"], 1.5),
    Job("mlp-1024", "same, batch 1024, Adam", "mlp", "adam", 1024, RECIPES["mlp-adam"], 1.3),
    Job("cnn-32", "CNN 32-64 3x3 + 128, batch 32, Adam", "cnn", "adam", 32, RECIPES["cnn"], 1.6),
    Job("cnn-128", "same, batch 128, Adam", "cnn", "adam", 128, RECIPES["cnn"], 1.6),
    Job("resnet-64", "ResNet-20 on 32x32, batch 64, momentum", "resnet", "momentum", 64, RECIPES["resnet"], 1.8),
    Job("resnet50-16", "ResNet-50 on 224x224, batch 16, momentum", "resnet50", "momentum", 16, RECIPES["resnet50"], 1.3),
    Job("mobilenet-32", "MobileNetV3-large on 224x224, batch 32, momentum", "mobilenet", "momentum", 32, RECIPES["mobilenet"], 2.0),
]

WHOLE_TITLE = "whole job: the article's model on MNIST, batch 32, 5 epochs, process start to weights on disk"
WHOLE_BAR = 4.0
# The bar on peak resident memory of the whole job.
WHOLE_MEMORY_MB = 120
