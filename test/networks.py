"""What tests of networks share: lively layers, one step of training, targets."""

import torch
from tiny import HEIGHT, WIDTH
from torch import nn


def lively(module):
    """Give batch norm layers statistics as training leaves them."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return module.eval()


def step(detector):
    """One optimiser step that would change everything that can change."""
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    detector.train()
    images = [torch.rand(3, HEIGHT, WIDTH) for _ in range(2)]
    target = {'boxes': torch.tensor([[10.0, 10, 60, 60]]), 'labels': torch.tensor([1])}
    sum(detector(images, [target, target]).values()).backward()
    optimizer.step()


def changed(before, module):
    return {k for k, v in module.state_dict().items() if not torch.equal(before[k], v)}


def copy(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def target(count):
    box = torch.tensor([[20.0, 20, 70, 80]])
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
    mask[:, 20:80, 20:70] = 1
    return {
        'boxes': box.repeat(count, 1),
        'labels': torch.zeros(count, dtype=torch.int64),
        'masks': mask.repeat(count, 1, 1),
    }


def spread_scores(detector):
    """Spread what an untrained head of one stage scores, so that rounding ties nothing."""
    head = detector.head
    layers = [head.logits] if isinstance(head.logits, nn.Conv2d) else list(head.logits)
    if getattr(head, 'coefficients', None) is not None:
        layers.append(head.coefficients)
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(50)
    return detector
