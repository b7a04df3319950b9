r"""Decoder heads: each turns the decoder's features into a distribution p(x|z) with the pixels as its event."""

from vaelib.likelihoods.autoregressive import NeighbourhoodHead, NeighbourhoodPixels
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.correlated import LowRankGaussian, StructuredGaussian, StructuredNormal
from vaelib.likelihoods.discretised import DiscretisedLogistic, DiscretisedNormal, DiscretisedPixels
from vaelib.likelihoods.gaussian import (
    CalibratedGaussian,
    FixedGaussian,
    PixelwiseGaussian,
    SharedGaussian,
    ToleranceGaussian,
)

__all__ = [
    "BernoulliPixels",
    "CalibratedGaussian",
    "ContinuousBernoulliPixels",
    "DiscretisedLogistic",
    "DiscretisedNormal",
    "DiscretisedPixels",
    "FixedGaussian",
    "LowRankGaussian",
    "NeighbourhoodHead",
    "NeighbourhoodPixels",
    "PixelwiseGaussian",
    "SharedGaussian",
    "StructuredGaussian",
    "StructuredNormal",
    "ToleranceGaussian",
]
