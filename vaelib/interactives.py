r"""Pictures that move: what a reader's input is turned into is computed in the page, from data written here.

Each is one HTML element that carries its data and the script `interactives.js`, so that it works in the book, from
disk, and in a notebook alike. Matrices travel as 12-bit integers with one scale a row.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.stats import chi2
from torch import Tensor, nn

from vaelib.data import Images
from vaelib.plots.images import PRIOR_MASS, Shape, image_shape, label_colours, prior_radii
from vaelib.sampling import reconstructions, sampled_codes
from vaelib.vae import VAE

#: Largest integer of a packed matrix.
LARGEST = 2047
#: Nodes of the grid, to a side, on which the rank of an explorer's decoder is chosen; the ranks; and the mean error
#: in grey levels at which the choice ends.
NODES, RANKS, MEAN_ERROR = 41, (8, 16, 24, 32, 48, 64), 0.25


@dataclass(frozen=True, repr=False)
class Interactive:
    """An element of the page: its tag, its data, and what stands in its place where no script runs.

    >>> Interactive("alpha-slider", data={}, instead="Here alpha can be moved by hand.")
    <alpha-slider> Here alpha can be moved by hand.
    """

    tag: str
    data: Mapping[str, Any]
    instead: str

    def __repr__(self) -> str:
        return f"<{self.tag}> {self.instead}"

    def _repr_html_(self) -> str:
        data = json.dumps(self.data, separators=(",", ":")).replace("</", "<\\/")
        script = files(__package__).joinpath("interactives.js").read_text(encoding="utf-8")
        return (
            f'<{self.tag} class="vae-interactive"><p>{self.instead}</p>'
            f'<script type="application/json">{data}</script></{self.tag}>\n<script>\n{script}</script>'
        )


def pack(matrix: Tensor) -> dict[str, Any]:
    r"""A matrix `[rows, columns]` as integers of 12 bits: :math:`a_{ij} = s_i q_{ij}`, :math:`|q_{ij}| \le 2047`.

    All low bytes come first, then all high ones, which compresses better.

    >>> packed = pack(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    >>> packed["shape"], unpack(packed)
    ([2, 2], tensor([[ 1.0000, -1.0000],
            [ 0.0000,  0.0000]], dtype=torch.float64))
    """
    values = matrix.detach().cpu().double().numpy()
    scales = np.abs(values).max(axis=1) / LARGEST
    integers = np.rint(values / np.where(scales > 0, scales, 1)[:, None]).astype("<i2")
    planes = integers.reshape(-1).view(np.uint8).reshape(-1, 2).T
    return {"shape": list(values.shape), "scales": _base64(scales.astype("<f4")), "planes": _base64(planes)}


def unpack(packed: Mapping[str, Any]) -> Tensor:
    """The matrix of :func:`pack`, as the page reads it.

    >>> matrix = torch.randn(5, 6)
    >>> torch.allclose(unpack(pack(matrix)).float(), matrix, atol=1e-3 * matrix.abs().max().item())
    True
    """
    planes = np.frombuffer(base64.b64decode(packed["planes"]), np.uint8).reshape(2, -1)
    integers = np.ascontiguousarray(planes.T).view("<i2").reshape(packed["shape"])
    scales = np.frombuffer(base64.b64decode(packed["scales"]), "<f4")
    return torch.from_numpy(integers * scales.astype(float)[:, None])


class PackedDecoder(NamedTuple):
    r"""A decoder of two-dimensional codes for the page: :math:`\mu_x(z) = \mathrm{sigmoid}(U M h + c)`,
    :math:`h = \max(A z + b, 0)`, where U M is the last layer projected on the few directions that its values take.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> packed, error = pack_decoder(vae, torch.randn(50, 2))
    >>> packed(torch.zeros(1, 2)).shape
    torch.Size([1, 6])
    """

    hidden: dict[str, Any]
    """A and b, packed, `[hidden, 3]`."""
    inner: dict[str, Any]
    """M, packed, `[rank, hidden]`."""
    outer: dict[str, Any]
    """U and c, packed, `[pixels, rank + 1]`."""

    def __call__(self, z: Tensor) -> Tensor:
        r""":math:`\mu_x(z)`, `[N, pixels]`, for codes z `[N, 2]`, with the digits that the page has."""
        homogeneous = torch.cat((z, torch.ones_like(z[:, :1])), dim=1).double()
        h = torch.relu(homogeneous @ unpack(self.hidden).T)
        outer = unpack(self.outer)
        return torch.sigmoid(h @ unpack(self.inner).T @ outer[:, :-1].T + outer[:, -1])


@torch.no_grad()
def pack_decoder(vae: VAE, z: Tensor) -> tuple[PackedDecoder, Tensor]:
    """The decoder of a VAE with d = 2 and its errors at the codes z `[N, 2]`, `[N, pixels]` in grey levels of 255.

    The rank is the first of `RANKS` whose mean error is below `MEAN_ERROR`, else the last.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> packed, error = pack_decoder(vae, torch.randn(50, 2))
    >>> error.shape, bool(error.mean() < MEAN_ERROR)
    (torch.Size([50, 6]), True)
    """
    (first, _), last = vae.decoder.body, vae.head.mu  # type: ignore[misc]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    truth = vae.likelihood(z).mean
    h = vae.decoder(z)
    largest = h.amax(dim=0).clamp(min=1e-9)  # units of the same size lose the fewest digits
    hidden = pack(torch.cat((first.weight, first.bias[:, None]), dim=1) / largest[:, None])
    values = (h @ last.weight.T).double()
    directions = torch.linalg.eigh(values.T @ values).eigenvectors.flip(1)  # as the left vectors of an SVD, but faster
    for rank in RANKS:
        U = directions[:, :rank]
        M = U.T @ (last.weight * largest).double()
        outer = pack(torch.cat((U, last.bias[:, None].double()), dim=1))
        packed = PackedDecoder(hidden=hidden, inner=pack(M), outer=outer)
        error = 255 * (packed(z) - truth).abs()
        if error.mean() < MEAN_ERROR:
            break
    return packed, error


@torch.no_grad()
def latent_explorer(models: Mapping[str, VAE], data: Images, *, codes: int = 600) -> Interactive:
    """The plane of codes of each model with d = 2: point at a code, and its mean image is decoded in the page.

    Shows codes of the first images, one draw of q(z|x) each, from torch's global generator. Raises ValueError for
    another latent dimension and for images in colour.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> explorer = latent_explorer({"VAE": vae}, load(torch.rand(20, 2, 3)).test)
    >>> explorer.tag, explorer.data["shape"]
    ('latent-explorer', [2, 3])
    """
    common = _common(data, codes)
    entries = []
    for label, vae in models.items():
        if vae.latent_dim != 2:
            raise ValueError(f"the explorer shows a plane; {label} has latent dimension {vae.latent_dim}")
        z = sampled_codes(vae, data.images[:codes])
        limit = _limit(z)
        axis = torch.linspace(-limit, limit, NODES)
        decoder, error = pack_decoder(vae, torch.cat((torch.cartesian_prod(axis, axis), z)))
        off = {"mean": round(error.mean().item(), 2), "largest": round(error.max().item(), 1), "codes": len(error)}
        entries.append({"label": label, "limit": limit, "codes": pack(z.T), "decoder": decoder._asdict(), "error": off})
    shown = {"models": entries, **common}
    return Interactive("latent-explorer", shown, "Here the plane of codes can be explored; that needs JavaScript.")


class Setting(NamedTuple):
    r"""One position of the dial: a model with :math:`\sigma_x = 1` and a weight beta; an autoencoder has none.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> Setting(beta=4.0, vae=vae, note="collapsed").note
    'collapsed'
    """

    beta: float | None
    vae: VAE
    note: str = ""


@torch.no_grad()
def variance_dial(settings: Sequence[Setting], data: Images, *, codes: int = 400, samples: int = 10) -> Interactive:
    r"""From an autoencoder to collapse: codes, reconstructions, samples and variance budget of each setting.

    Codes are drawn from q(z|x) (an autoencoder's are :math:`\mu_z(x)`) and shown on the plane of their first two
    principal axes, turned to fit that of the setting before; `inside` is the share of them in the ball that holds 99 %
    of the prior. `samples` means are decoded from the same draws of N(0, I) throughout. The page adds the noise of the
    observation, :math:`\sigma_x = 1`, or :math:`\sqrt\beta` in the other reading. Variances are shares of that of the
    images: explained is :math:`\sum_j \mathrm{Var}\,\mu_{x,j}(z)`, over the codes and over as many draws of the prior,
    noise :math:`m \sigma_x^2`. Grey images only; the examples are one of each label, ten at most.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> settings = [Setting(None, vae), Setting(beta=1.0, vae=vae)]
    >>> dial = variance_dial(settings, load(torch.rand(20, 2, 3)).test)
    >>> [setting["beta"] for setting in dial.data["settings"]]
    [None, 1.0]
    """
    common = _common(data, codes)
    n, pixels = data.images.shape
    examples = (data if data.labels is None else data.one_of_each()).images[:10]
    variance = data.images.var(dim=0).sum().item()
    prior = torch.randn(n, settings[0].vae.latent_dim)
    entries: list[dict[str, Any]] = []
    before: Tensor | None = None
    for setting in settings:
        qz_x = setting.vae.posterior(data.images)
        z = qz_x.mean if setting.beta is None else qz_x.sample()
        axes = torch.linalg.svd(z - z.mean(dim=0), full_matrices=False).Vh[:2]
        plane = z @ axes.T
        if before is not None:
            turn = orthogonal_procrustes(plane.numpy(), before.numpy())[0]
            plane = plane @ torch.from_numpy(turn)
        before = plane
        means = [setting.vae.likelihood(code).mean for code in (z, prior)]
        entries.append(
            {
                "beta": setting.beta,
                "note": setting.note,
                "limit": _limit(plane[:codes]),
                "codes": pack(plane[:codes].T),
                "shown": (plane.var(dim=0).sum() / z.var(dim=0).sum()).item(),
                "inside": (z.square().sum(dim=1) < chi2.ppf(PRIOR_MASS[-1], z.shape[1])).double().mean().item(),
                "reconstructions": levels(reconstructions(setting.vae, examples)),
                "means": levels(means[1][:samples]),
                "explained": [mean.var(dim=0).sum().item() / variance for mean in means],
            }
        )
    shown = {
        "settings": entries,
        "examples": levels(examples),
        "noise": pixels / variance,  # of sigma = 1, as a share of the variance of the images
        "dimensions": prior.shape[1],
        **common,
    }
    return Interactive("variance-dial", shown, "A slider leads from an autoencoder to collapse; that needs JavaScript.")


@torch.no_grad()
def alpha_slider(vae: VAE, *, images: int = 16, shape: Shape | None = None) -> Interactive:
    r""":math:`\mu_x(z) + \alpha\,\sigma_x(z)` for codes from the prior, alpha by hand: after one seed those of
    `vaelib.sampling.quantile_images`. Grey images only; squares need no shape.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> slider = alpha_slider(vae, images=5, shape=(2, 3))
    >>> unpack(slider.data["means"]).shape
    torch.Size([5, 6])
    """
    theta = vae.likelihood(vae.prior.sample((images,)))
    size = _height_and_width(theta.mean, shape)
    shown = {"means": pack(theta.mean), "deviations": pack(theta.stddev), "shape": size}
    return Interactive("alpha-slider", shown, "Here alpha can be moved by hand; that needs JavaScript.")


def levels(images: Tensor) -> str:
    """Images as bytes, one grey level a pixel.

    >>> list(base64.b64decode(levels(torch.tensor([[0.0, 1.0]]))))
    [0, 255]
    """
    return _base64((images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


def _common(data: Images, codes: int) -> dict[str, Any]:
    """Of any plane: height and width of the images, labels of the first and their colours, circles of the prior."""
    shape = _height_and_width(data.images, data.shape)
    labels = [] if data.labels is None else data.labels[:codes].tolist()
    colours = {str(label): colour for label, colour in label_colours(data.labels).items()}
    radii = [round(radius, 4) for radius in prior_radii()]
    return {"shape": shape, "labels": labels, "colours": colours, "radii": radii, "mass": list(PRIOR_MASS)}


def _height_and_width(images: Tensor, shape: Shape | None) -> list[int]:
    """As the page needs them; raises `ValueError` for images in colour, which it does not draw."""
    *channels, height, width = image_shape(images, shape)
    if channels not in ([], [1]):
        raise ValueError(f"the page draws grey images of a shape (height, width), not images in colour, {shape}")
    return [height, width]


def _limit(z: Tensor) -> float:
    """Half the side of a window on the plane that holds the codes and the prior."""
    return round(1.05 * max(z.abs().max().item(), *prior_radii()), 3)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
