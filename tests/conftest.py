r"""What the tests share: one seed, a cache of their own, the digits, and linear VAEs, of which all is known exactly."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from vaelib import data, mnist
from vaelib.linear import linear_vae
from vaelib.vae import VAE


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Each test starts from one seed and cannot reach the cache of the checkout."""
    monkeypatch.setenv("VAELIB_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """Models and draws in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def quick() -> data.Dataset:
    """The quick profile."""
    return data.load("quick")


class Linear(NamedTuple):
    """A linear VAE whose encoder is the best that it can be, its parameters, and some x `[8, 6]`."""

    vae: VAE
    W: Tensor
    b: Tensor
    sigma: float
    x: Tensor


@pytest.fixture
def linear(float64) -> Linear:
    """Correlated columns of W: p(z|x) is not diagonal and no q(z|x) of the family equals it."""
    return _linear(torch.randn(6, 2) + torch.randn(6, 1))


@pytest.fixture
def orthogonal_linear(float64) -> Linear:
    """Orthogonal columns of W: p(z|x) is diagonal and q(z|x) equals it."""
    return _linear(torch.linalg.qr(torch.randn(6, 2)).Q * torch.tensor([2.0, 0.5]))


def _linear(W: Tensor) -> Linear:
    vae, b, sigma = linear_vae(pixels=6, latent_dim=2, sigma=0.5), torch.randn(6), 0.5
    with torch.no_grad():
        vae.head.mu.weight.copy_(W)
        vae.head.mu.bias.copy_(b)
    vae.encoder.set_optimal(W, b, sigma)
    return Linear(vae, W, b, sigma, b + torch.randn(8, 6))


@pytest.fixture
def in_place_of_quick() -> Iterator[Callable[[Callable[[torch.device], data.Dataset]], None]]:
    """Puts what a function loads in the place of the quick profile."""
    from vaelib.study import trained

    def forget() -> None:
        trained._kept.cache_clear()

    def put(load: Callable[[torch.device], data.Dataset]) -> None:
        patch.setitem(mnist.LOADERS, "quick", load)
        forget()

    with pytest.MonkeyPatch.context() as patch:
        yield put
    forget()


@pytest.fixture
def noise(in_place_of_quick) -> None:
    """In the place of the digits of the quick profile, 300 images of noise to train and 100 to test."""
    levels = torch.randint(0, 256, (400, 784), generator=torch.Generator().manual_seed(1))
    both = data.Images(levels / 255, torch.arange(400) % 10, mnist.SHAPE)
    digits = data.Dataset(both[:300], both[300:], "noise", "quick", "noise", "0" * 64)

    def load(device: torch.device) -> data.Dataset:
        return digits

    in_place_of_quick(load)
