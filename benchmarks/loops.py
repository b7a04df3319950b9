r"""Our loop beside two others on one network, 784-400-20-400-784, Bernoulli on grey pixels, Adam.

The others are the loop of the usual tutorial (a DataLoader over torchvision's dataset, ToTensor, `.item()` at each
step, plain Adam: the example that ships with PyTorch) and pythae's trainer. All train on the same images in batches of
128 and are scored by the same ELBO on the same test images; scoring is not timed.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from tempfile import TemporaryDirectory

import torch
from origin import LOOP_MODEL
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaelib import data
from vaelib.objectives import elbo_nats
from vaelib.seeding import seeded
from vaelib.study.models import find_vae
from vaelib.training import fit

BATCH, HIDDEN, LATENT = 128, 400, 20
#: The layers: what goes in and what comes out.
LAYERS = ((784, HIDDEN), (HIDDEN, LATENT), (HIDDEN, LATENT), (LATENT, HIDDEN), (HIDDEN, 784))
#: Multiplications and additions of one image: forward, backward to the weights, and but at the pixels to the input.
OPERATIONS = 2 * (3 * sum(i * o for i, o in LAYERS) - 784 * HIDDEN)


class Pictures(Dataset):
    """Images as torchvision's MNIST hands them out, one by one: a picture, changed into a tensor."""

    def __init__(self, digits: data.Images) -> None:
        self.levels = (digits.images.reshape(-1, 28, 28) * 255).round().byte()
        self.labels, self.transform = digits.labels, ToTensor()

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.levels[index].numpy())), int(self.labels[index])


class TutorialVAE(nn.Module):
    """The network of the tutorial, its five layers under its names."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels [B, 784] to reconstruction, mean and log-variance."""
        h = functional.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(functional.relu(self.fc3(z)))), mu, logvar


def tutorial_loss(output: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Minus the ELBO, summed over the batch."""
    x_hat, mu, logvar = output
    bce = functional.binary_cross_entropy(x_hat, x, reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def tutorial(digits: data.Dataset, *, epochs: int) -> Iterator[tuple[float, float]]:
    """Seconds of each epoch and the test ELBO after it; scoring is not timed."""
    with seeded(0):
        model = TutorialVAE()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        loader = DataLoader(Pictures(digits.train), batch_size=BATCH, shuffle=True)
        for _ in range(epochs):
            started, total = time.perf_counter(), 0.0
            for pictures, _ in loader:
                x = pictures.view(-1, 784)
                optimiser.zero_grad()
                loss = tutorial_loss(model(x), x)
                loss.backward()
                total += loss.item()
                optimiser.step()
            seconds = time.perf_counter() - started
            with torch.no_grad():
                x = digits.test.images
                elbo = -tutorial_loss(model(x), x).item() / len(x)
            yield seconds, elbo


def ours(
    digits: data.Dataset, *, epochs: int, batch_size: int = BATCH, learning_rate: float = 1e-3, decay: bool = False
) -> Iterator[tuple[float, float]]:
    """The same for the book's model and loop."""
    with seeded(0):
        vae = find_vae(LOOP_MODEL).build(digits.train.shape)
        steps = fit(
            vae,
            lambda x: -elbo_nats(vae, x),
            [digits.train.images],
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            decay=decay,
        )
        started = time.perf_counter()
        for step in steps:
            if step.ends_epoch:
                seconds = time.perf_counter() - started
                with torch.no_grad():
                    elbo = elbo_nats(vae, digits.test.images).mean().item()
                yield seconds, elbo
                started = time.perf_counter()


def pythae(digits: data.Dataset, *, epochs: int) -> Iterator[tuple[float, float]]:
    """The same for pythae's trainer, with an encoder and a decoder of the same layers."""
    logging.disable(logging.WARNING)
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.h = nn.Linear(784, HIDDEN)
            self.mu, self.logvar = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)

        def forward(self, x: Tensor) -> ModelOutput:
            h = functional.relu(self.h(x.reshape(len(x), -1)))
            return ModelOutput(embedding=self.mu(h), log_covariance=self.logvar(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.h, self.x = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

        def forward(self, z: Tensor) -> ModelOutput:
            x = torch.sigmoid(self.x(functional.relu(self.h(z))))
            return ModelOutput(reconstruction=x.reshape(-1, 1, 28, 28))

    images = digits.test.images.reshape(-1, 1, 28, 28)
    with seeded(0), TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
        trainer = BaseTrainer(
            VAE(config, encoder=Encoder(), decoder=Decoder()),
            BaseDataset(digits.train.images.reshape(-1, 1, 28, 28), digits.train.labels),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=BATCH,
                learning_rate=1e-3,
                no_cuda=True,
            ),
        )
        trainer.prepare_training()
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            trainer.train_step(epoch)
            seconds = time.perf_counter() - started
            with torch.no_grad():
                yield seconds, -trainer.model({"data": images}).loss.item()


def matmul_flops(threads: int, *, size: int = 1024) -> float:
    """The machine's own rate of matrix products, float32, in operations per second."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / _best(lambda: a @ b)


def products_alone(batch: int) -> float:
    """Images per second of the matrix products of a step and nothing else: what no loop of this network can pass.

    Of each layer one product forward and two backward, to its weights and to its input, which the pixels do not need.
    """
    data = [(torch.randn(batch, i), torch.randn(o, i), torch.randn(batch, o)) for i, o in LAYERS]

    def step() -> None:
        for x, weight, gradient in data:
            x @ weight.T
            gradient.T @ x
        for _, weight, gradient in data[1:]:
            gradient @ weight

    return batch / _best(step)


def _best(work: Callable[[], object], *, seconds: float = 2.0) -> float:
    """Seconds that it takes: the best of those of a few seconds."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
