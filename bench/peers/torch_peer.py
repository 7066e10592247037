"""PyTorch on two threads with fused optimizers: `torch_peer.py eager` or `torch_peer.py compile`."""

import sys

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from data import batches
from worker import Worker

torch.set_num_threads(2)
torch.set_flush_denormal(True)


STEP_OPTIONS = {
    "step": {},
    "step, C++ wrapper": {"cpp_wrapper": True},
    "step, autotuned": {"max_autotune": True},
    "step, autotuned, C++ wrapper": {"max_autotune": True, "cpp_wrapper": True},
}


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


def resnet20():
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    cin = 16
    for stage, cout in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(Block(cin, cout, 2 if stage and not block else 1))
            cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def make_model(kind):
    torch.manual_seed(1)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    if kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
    if kind == "resnet50":
        return torchvision.models.resnet50()
    if kind == "mobilenet":
        return torchvision.models.mobilenet_v3_large(dropout=0.0)
    return resnet20()


def make_optimizer(kind, parameters):
    if kind == "adam":
        return torch.optim.Adam(parameters, 1e-3, fused=True)
    if kind == "sgd":
        return torch.optim.SGD(parameters, 0.01, fused=True)
    return torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=1e-4, fused=True)


def inputs(job, layout):
    images, labels = batches(job)
    images = torch.from_numpy(images)
    if images.dim() == 5:
        # [steps,n,h,w,c] to NCHW by name; `permute` alone is already channels_last in memory.
        images = images.permute(0, 1, 4, 2, 3)
        images = images if layout == torch.channels_last else images.contiguous()
    return list(images.unbind(0)), list(torch.from_numpy(labels).long().unbind(0))


def loop(step, xs, ys, threads):
    position = 0

    def run(steps):
        nonlocal position
        torch.set_num_threads(threads)
        for _ in range(steps):
            loss = step(xs[position], ys[position])
            position = (position + 1) % len(xs)
        return steps, loss.item()

    return run


def build(job, layout, compiled, threads):
    model = make_model(job["model"]).to(memory_format=layout)
    xs, ys = inputs(job, layout)
    forward = lambda x, y: F.cross_entropy(model(x), y)
    if compiled.startswith("step"):
        return loop(whole_step(job, model, STEP_OPTIONS[compiled]), xs, ys, threads)
    optimizer = make_optimizer(job["optimizer"], model.parameters())
    if compiled == "forward_backward":
        forward = torch.compile(forward, fullgraph=True, dynamic=False)

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        # Detached: otherwise the last graph would live on into the next step.
        return loss.detach()

    return loop(step, xs, ys, threads)


def whole_step(job, model, options):
    """Forward, backward and update as one compiled graph: the least work left to Python."""
    parameters = {n: p.detach().clone() for n, p in model.named_parameters()}
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    zeros = lambda: {n: torch.zeros_like(p) for n, p in parameters.items()}
    first, second, count = zeros(), zeros(), torch.zeros(())
    model.requires_grad_(False)

    def loss_of(p, x, y):
        # Batch norm changes its statistics in place, which is allowed only on tensors made inside the transform.
        running = {n: b.clone() for n, b in buffers.items()}
        return F.cross_entropy(torch.func.functional_call(model, (p, running), (x,)), y), running

    def step(x, y):
        gradients, (loss, running) = torch.func.grad_and_value(loss_of, has_aux=True)(parameters, x, y)
        for n, b in running.items():
            buffers[n].copy_(b)
        if job["optimizer"] == "adam":
            count.add_(1)
            rate = 1e-3 * torch.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        for n, g in gradients.items():
            p = parameters[n]
            if job["optimizer"] == "sgd":
                p.sub_(0.01 * g)
            elif job["optimizer"] == "momentum":
                first[n].mul_(0.9).add_(g + 1e-4 * p)
                p.sub_(0.1 * first[n])
            else:
                first[n].mul_(0.9).add_(0.1 * g)
                second[n].mul_(0.999).add_(0.001 * g * g)
                p.sub_(rate * first[n] / (second[n].sqrt() + 1e-8))
        return loss

    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def variants(mode):
    def of_job(job):
        torch._dynamo.reset()
        layouts = {"": torch.contiguous_format}
        if job["model"] != "mlp":
            layouts["channels_last "] = torch.channels_last
        # One thread wins where a step is all overhead.
        thread_counts = (1, 2) if job["model"] == "mlp" and job["batch_size"] <= 32 else (2,)
        # Less overhead a step and tuned products: what small dense models gain from, at a long compilation.
        steps = list(STEP_OPTIONS) if job["model"] == "mlp" else ["step"]
        kinds = {"eager": [""], "compile": ["forward_backward", *steps]}[mode]
        return {
            f"{prefix}{kind or 'eager'} {threads} threads": lambda l=layout, k=kind, t=threads: build(job, l, k, t)
            for prefix, layout in layouts.items() for kind in kinds for threads in thread_counts
        }  # fmt: skip

    return of_job


if __name__ == "__main__":
    Worker(variants(sys.argv[1]), {"torch": torch.__version__}).serve()
