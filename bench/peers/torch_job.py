"""Whole job in PyTorch: `torch_job.py eager|compile THREADS OUT`."""

import sys

import torch
import torch.nn.functional as F

from job_data import initial, mnist_u8, orders, save

mode, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
torch.set_flush_denormal(True)

images, labels = mnist_u8()
x_all = torch.from_numpy(images.copy()).float().div_(255)
y_all = torch.from_numpy(labels.copy()).long()
weights = [torch.from_numpy(w) for w in initial()]


def logits(w, x):
    return torch.addmm(w[3], torch.relu(torch.addmm(w[1], x, w[0])), w[2])


if mode == "eager":
    parameters = [torch.nn.Parameter(w) for w in weights]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)

    def step(rows):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(parameters, x_all[rows]), y_all[rows]).backward()
        optimizer.step()
else:
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    count = torch.zeros(())

    def loss_of(w, rows):
        return F.cross_entropy(logits(w, x_all[rows]), y_all[rows])

    @torch.compile(fullgraph=True, dynamic=False)
    def step(rows):
        gradients = torch.func.grad(loss_of)(weights, rows)
        count.add_(1)
        rate = 1e-3 * torch.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        for w, g, m, v in zip(weights, gradients, first, second):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            w.sub_(rate * m / (v.sqrt() + 1e-8))


for order in orders(len(labels)):
    for rows in torch.from_numpy(order).unbind(0):
        step(rows)
save([w.detach().numpy() for w in (parameters if mode == "eager" else weights)])
