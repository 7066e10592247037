"""ResNet-20 on a folder of JPEG files in PyTorch: `cifar_torch.py FOLDER EPOCHS SEED WORKERS OUT`. Prints one line of JSON."""

import json
import sys

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from torch_peer import resnet20

folder, epochs, seed, workers, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.manual_seed(seed)
torch.set_num_threads(2)
torch.set_flush_denormal(True)

last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616])]
train = ImageFolder(f"{folder}/train", v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *last]))
test = ImageFolder(f"{folder}/test", v2.Compose(last))
batches = DataLoader(train, 64, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

model = resnet20().to(memory_format=torch.channels_last)
for module in model.modules():
    if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
        torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)
steps, warm = epochs * len(batches), 300
schedule = torch.optim.lr_scheduler.SequentialLR(
    optimizer,
    [
        torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, 1.0, warm),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps - warm, 1)),
    ],
    [warm],
)


def accuracy():
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in DataLoader(test, 256, num_workers=workers):
            right += (model(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum().item()
    model.train()
    return right / len(test)


for _ in range(epochs):
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y).backward()
        optimizer.step()
        schedule.step()
    found = accuracy()
torch.save(model.state_dict(), out)
print(json.dumps({"accuracy": found}))
