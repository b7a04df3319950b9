r"""Training on nine images of ten, so that the tenth says when the bound has stopped rising: no test image is asked."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaelib.data import Images
from vaelib.objectives import elbo_nats
from vaelib.seeding import seeded
from vaelib.study.experiment import WATCHED, VaeExperiment
from vaelib.vae import VAE

#: Every so manieth training image is set aside.
EVERY = 10


def set_aside(train: Images) -> Images:
    """The training images that are not trained on, every tenth.

    >>> images = Images(torch.rand(25, 6), labels=None, shape=(2, 3))
    >>> len(set_aside(images)), len(trained_on(images))
    (2, 23)
    """
    return train[EVERY - 1 :: EVERY]


def trained_on(train: Images) -> Images:
    """All others."""
    return train[torch.arange(len(train)) % EVERY != EVERY - 1]


@dataclass(frozen=True, kw_only=True)
class AsideExperiment(VaeExperiment):
    """A VAE that never sees the images that are set aside; its history has the ELBO on some of them."""

    def examples(self, images: Images) -> tuple[Tensor, ...]:
        """The images that are trained on, of one label or of all."""
        return super().examples(trained_on(images))

    def watch(self, model: nn.Module, train: Images) -> dict[str, float]:
        """What is watched of every VAE, on images trained on, and the ELBO of images set aside, one draw, in nats."""
        assert isinstance(model, VAE)
        x = set_aside(train).only(self.digit).images[:WATCHED]
        with seeded(self.seed):
            bound = elbo_nats(model, self.pixels(x)).mean().item()
        return super().watch(model, trained_on(train)) | {"aside_elbo_nats": bound}
