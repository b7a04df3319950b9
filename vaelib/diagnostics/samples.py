r"""Measures of images that a model made: of its reconstructions, and of its samples by the features of a classifier."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

#: Images that are worked on at once: what they need stays in the processor's cache.
CHUNK = 250


class Classifier(Protocol):
    """Any module with these two methods.

    >>> class Brightness:
    ...     def features(self, x):
    ...         return x.mean(dim=1, keepdim=True)
    ...     def labels(self, x):
    ...         return (self.features(x)[:, 0] > 0.5).long()
    >>> label_change_rate(Brightness(), torch.zeros(5, 6), torch.ones(5, 6))
    1.0
    """

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, m]` to features `[B, k]`."""

    def labels(self, x: Tensor) -> Tensor:
        """Images `[B, m]` to labels `[B]`."""


def mse_per_pixel(x: Tensor, x_hat: Tensor) -> float:
    r"""Mean of :math:`(x - \hat x)^2` over images and pixels of two `[B, m]`; grey levels in [0, 1].

    >>> mse_per_pixel(torch.zeros(5, 6), torch.full((5, 6), 0.5))
    0.25
    """
    return (x - x_hat).square().mean().item()


def edge_energy(images: Tensor, *, shape: tuple[int, ...]) -> float:
    r"""Mean of :math:`(x_i - x_j)^2` over pairs of neighbouring pixels of grey images `[B, m]`, across and down.

    A blur lowers it, noise raises it. Raises ValueError for images of another shape than two sides.

    >>> edge_energy(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), shape=(2, 2))  # two pairs that differ, two that do not
    0.5
    """
    if len(shape) != 2:
        raise ValueError(f"neighbours are those of grey images with two sides, not of the shape {shape}")
    picture = images.double().reshape(-1, *shape)
    pairs = [picture.diff(dim=side).square() for side in (1, 2)]
    return (sum(pair.sum().item() for pair in pairs)) / sum(pair.numel() for pair in pairs)


@torch.no_grad()
def label_change_rate(classifier: Classifier, x: Tensor, x_hat: Tensor) -> float:
    """Share of images `[B, m]` that the classifier gives another label after reconstruction.

    >>> from types import SimpleNamespace
    >>> brightness = SimpleNamespace(labels=lambda x: (x.mean(dim=1) > 0.5).long())
    >>> x = torch.tensor([[0.1, 0.1], [0.1, 0.1], [0.9, 0.9], [0.9, 0.9]])
    >>> label_change_rate(brightness, x, x.flip(1)), label_change_rate(brightness, x, torch.zeros(4, 2))
    (0.0, 0.5)
    """
    return (classifier.labels(x) != classifier.labels(x_hat)).float().mean().item()


@torch.no_grad()
def features(classifier: Classifier, x: Tensor) -> np.ndarray:
    """Features `[B, k]` of images `[B, m]`, float64.

    >>> from types import SimpleNamespace
    >>> brightness = SimpleNamespace(features=lambda x: x.mean(dim=1, keepdim=True))
    >>> features(brightness, torch.rand(5, 6)).shape
    (5, 1)
    """
    return torch.cat([classifier.features(few) for few in x.split(CHUNK)]).double().cpu().numpy()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    r"""Squared Frechet distance of the Normals fitted to two sets of features, `[N, k]` and `[M, k]`.

    :math:`\|\mu_a - \mu_b\|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})`, at least 0
    (Heusel et al. 2017). Comparable only under the same features: published FIDs are those of Inception.

    >>> a = torch.randn(50, 3).double().numpy()
    >>> round(frechet_distance(a, a), 6), round(frechet_distance(a, a + 2), 6)  # the squared distance of the means
    (0.0, 12.0)
    """
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    variances, directions = np.linalg.eigh(sigma_a)
    root_a = directions * np.sqrt(variances.clip(min=0)) @ directions.T
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ sigma_b @ root_a).clip(min=0)).sum()
    distance = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(sigma_a) + np.trace(sigma_b) - 2 * cross
    return max(float(distance), 0.0)


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1].

    >>> line = torch.arange(10.0)[:, None].numpy()
    >>> precision_recall(line, line[:5], neighbours=1).precision
    1.0
    """

    precision: float
    """Of the samples that lie in the neighbourhood of the data: quality."""
    recall: float
    """Of the data that lie in the neighbourhood of the samples: diversity."""


def precision_recall(data: np.ndarray, samples: np.ndarray, *, neighbours: int = 3) -> PrecisionRecall:
    """Improved precision and recall from balls that reach to the k-th nearest neighbour (Kynkaanniemi et al. 2019).

    Features `[N, k]` and `[M, k]`, N, M above `neighbours`; the two should be of one size, since balls shrink with it.

    >>> data, elsewhere = torch.rand(50, 3).numpy(), torch.rand(50, 3).numpy() + 10
    >>> precision_recall(data, data)
    PrecisionRecall(precision=1.0, recall=1.0)
    >>> precision_recall(data, elsewhere)
    PrecisionRecall(precision=0.0, recall=0.0)
    """
    from sklearn.metrics.pairwise import euclidean_distances
    from sklearn.utils import gen_batches

    radii_data, radii_samples = (_radii(points, neighbours) for points in (data, samples))
    precise, recalled = [], np.zeros(len(data), dtype=bool)
    for rows in gen_batches(len(samples), CHUNK):
        squared = euclidean_distances(samples[rows], data, squared=True)
        precise.append((squared <= radii_data).any(axis=1))
        recalled |= (squared <= radii_samples[rows, None]).any(axis=0)
    return PrecisionRecall(precision=float(np.concatenate(precise).mean()), recall=float(recalled.mean()))


def _radii(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest neighbour."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(points)
    return np.square(nearest.kneighbors()[0][:, -1])
