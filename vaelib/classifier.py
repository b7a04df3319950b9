r"""A small classifier of digits: its features are the yardstick for samples, its labels for reconstructions."""

from torch import Tensor, nn

FEATURES = 64


class Classifier(nn.Module):
    """Two strided convolutions, one layer of 64 features, ten logits; images `[B, 784]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 16, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, FEATURES),
            nn.ReLU(),
        )
        self.logits = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, 784]` to features `[B, 64]`."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, 784]` to logits `[B, 10]`."""
        return self.logits(self.features(x))

    def labels(self, x: Tensor) -> Tensor:
        """Images `[B, 784]` to the most probable digit `[B]`."""
        return self(x).argmax(dim=-1)
