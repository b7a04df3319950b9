r"""Decoder heads: each turns the decoder's features into a distribution p(x|z) with the image as its event.

A head is made from `features`, their number, and `shape`, that of an image; what else it takes comes by keyword.
"""

from vaelib.likelihoods.autoregressive import CodelessHead, NeighbourhoodHead, NeighbourhoodPixels
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.copies import NoisyCopyHead, NoisyCopyPixels
from vaelib.likelihoods.correlated import LowRankGaussian, StructuredGaussian, StructuredNormal
from vaelib.likelihoods.discretised import DiscretisedLogistic, DiscretisedNormal, DiscretisedPixels, quantise
from vaelib.likelihoods.fitted import (
    FactorGaussian,
    Means,
    PredictedGaussian,
    SteppedGaussian,
    SteppedHistogram,
    SteppedLevels,
)
from vaelib.likelihoods.gaussian import (
    CalibratedGaussian,
    FixedGaussian,
    PerPixelGaussian,
    PixelwiseGaussian,
    SharedGaussian,
    ToleranceGaussian,
    independent_pixels,
)
