r"""The linear VAE trained out: its ELBO without draws, on all images at once, by L-BFGS from where Adam ended.

The bound hardly knows the scale of W. With its columns multiplied by a and the codes divided by it, reconstructions
stay as they are; only the KL changes, by :math:`\tfrac12 (a^{-2} - 1 + \ln a^2)` nats a code at the optimum, which is
0.003 where :math:`a^2 = 1.12`. Steps along the gradient take such a direction last, whether it has noise or not.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelib.data import Dataset
from vaelib.linear import exact_elbo_nats
from vaelib.pca import spectrum, stand_ins
from vaelib.seeding import seeded
from vaelib.study.experiment import LinearVaeExperiment, Outcome
from vaelib.training import polish


@dataclass(frozen=True, kw_only=True)
class PolishedExperiment(LinearVaeExperiment):
    """A linear VAE that goes on from another, trained on grey pixels; `epochs` are iterations on all images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is None or self.dequantised:
            raise ValueError(f"{self.name}: a polished model needs one to start from, and pixels without noise")

    def polished(self, images: Dataset, weights: Mapping[str, Tensor]) -> Outcome:
        """The model at the maximum, float32; `train_loss` in its history is minus the ELBO at each evaluation."""
        started = time.perf_counter()
        vae = self.build(images.train.shape).double().to(images.train.images.device)
        self.take_over(vae, weights)
        data = stand_ins(spectrum(images.train.images))
        course = polish(vae, lambda x: -exact_elbo_nats(vae, x), data, iterations=self.epochs)
        vae = vae.float().eval()
        seconds = time.perf_counter() - started
        with torch.no_grad(), seeded(self.seed):
            metrics = self.metrics(vae, images.test)
        return Outcome(vae, metrics, {"train_loss": course}, seconds)
