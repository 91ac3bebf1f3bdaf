"""The README's second example: small convolutional networks on scikit-learn's digits, and how one of them is trained.

python -m studies.run grid --space examples/digits.toml
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

NUM_TEST, BATCH, EPOCHS = 500, 64, 8


def make(width: int = 16, separable: bool = False, norm: bool = False) -> nn.Module:
    """Images 1 x 8 x 8 in [0, 1] to 10 scores: two 3x3 convolutions, pooled, and a linear layer."""
    layers: list[nn.Module] = []
    for num_in, num_out in ((1, width), (width, 2 * width)):
        if separable and num_in > 1:
            layers += [nn.Conv2d(num_in, num_in, 3, padding=1, groups=num_in), nn.Conv2d(num_in, num_out, 1)]
        else:
            layers += [nn.Conv2d(num_in, num_out, 3, padding=1)]
        layers += [*([nn.BatchNorm2d(num_out)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * width, 10))


def train(network: nn.Module, seed: int, report: Callable[[int, float], None], should_stop: Callable[[], bool]) -> dict[str, float]:
    """Adam, 8 epochs; the share of 500 test digits that are told apart."""
    x_train, y_train, x_test, y_test = digits()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for batch in torch.randperm(len(x_train)).split(BATCH):
            loss = cross_entropy(network(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            accuracy = (network(x_test).argmax(dim=1) == y_test).float().mean().item()
        report(epoch, accuracy)
        if should_stop():
            break
    return {"accuracy": accuracy}


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images N x 1 x 8 x 8 and digits, to train and to test; the same split each time."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, rest = order[:NUM_TEST], order[NUM_TEST:]
    return x[rest], y[rest], x[test], y[test]
