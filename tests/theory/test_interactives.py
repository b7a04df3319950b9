import base64
import json
import math
import re

import numpy as np
import pytest
import torch

from vaelib.data import Images
from vaelib.interactives import (
    LARGEST,
    MEAN_ERROR,
    Setting,
    alpha_slider,
    latent_explorer,
    levels,
    pack,
    pack_decoder,
    unpack,
    variance_dial,
)
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian
from vaelib.sampling import quantile_images
from vaelib.seeding import seeded
from vaelib.vae import mlp_vae


def _vae(latent_dim=2, head=PixelwiseGaussian):
    with seeded(3):
        return mlp_vae(shape=(28, 28), latent_dim=latent_dim, head=head)


def _fixed(*, features, shape):
    return FixedGaussian(features=features, shape=shape, sigma=1.0)


@pytest.fixture
def digits():
    with seeded(1):
        return Images(torch.rand(60, 784), torch.arange(60) % 10, (28, 28))


def test_a_packed_matrix_is_off_by_half_a_step_at_most():
    matrix = torch.randn(7, 30, dtype=torch.float64) * torch.logspace(-4, 4, 7)[:, None]
    matrix[3] = 0
    step = matrix.abs().amax(dim=1, keepdim=True) / LARGEST
    assert ((unpack(pack(matrix)) - matrix).abs() <= step * (0.5 + 1e-3)).all()


def test_a_packed_decoder_computes_what_the_decoder_does():
    vae, z = _vae(), torch.randn(500, 2) * 3
    packed, error = pack_decoder(vae, z)
    with torch.no_grad():
        truth = vae.likelihood(z).mean
    assert error.mean() < MEAN_ERROR
    torch.testing.assert_close(255 * (packed(z) - truth).abs(), error)
    other = torch.randn(500, 2)  # codes that it was not fitted to
    with torch.no_grad():
        assert (255 * (packed(other) - vae.likelihood(other).mean).abs()).mean() < 2 * MEAN_ERROR


def test_a_decoder_that_bends_less_gets_fewer_directions():
    vae, z = _vae(), torch.randn(500, 2) * 3
    bent = pack_decoder(vae, z)[0].inner["shape"][0]
    with torch.no_grad():
        vae.head.mu.weight.mul_(0.1)
    assert pack_decoder(vae, z)[0].inner["shape"][0] < bent


def test_the_explorer_holds_the_codes_of_the_first_images_within_its_window(digits):
    vae = _vae()
    with seeded(0):
        explorer = latent_explorer({"one": vae, "two": vae}, digits, codes=20)
    with seeded(0):
        expected = vae.posterior(digits.images[:20]).sample()
    one = explorer.data["models"][0]
    assert one["codes"]["shape"] == [2, 20] and len(explorer.data["labels"]) == 20
    torch.testing.assert_close(unpack(one["codes"]).T, expected.double(), atol=2e-3, rtol=0)
    assert unpack(one["codes"]).abs().max() < one["limit"]


def test_the_explorer_refuses_what_is_no_plane(digits):
    with pytest.raises(ValueError, match="three has latent dimension 3"):
        latent_explorer({"three": _vae(3)}, digits)


def test_the_page_is_told_the_shape_of_the_images_and_the_colours_of_their_labels(digits):
    for shape in ((14, 56), (1, 14, 56)):
        data = Images(images=digits.images, labels=torch.arange(60) + 100, shape=shape)
        shown = latent_explorer({"one": _vae()}, data, codes=7).data
        assert shown["shape"] == [14, 56]
        assert shown["labels"] == list(range(100, 107))
        assert set(shown["colours"]) == {str(label) for label in range(100, 160)}
    assert alpha_slider(_vae(), images=2, shape=(56, 14)).data["shape"] == [56, 14]
    assert alpha_slider(_vae(), images=2).data["shape"] == [28, 28]


def test_images_in_colour_are_refused():
    data = Images(images=torch.rand(6, 3 * 16 * 16), labels=None, shape=(3, 16, 16))
    for make in (latent_explorer, variance_dial):
        with pytest.raises(ValueError, match=r"not images in colour, \(3, 16, 16\)"):
            make({}, data)


def test_images_without_labels_are_their_own_examples(digits):
    data = Images(images=digits.images, labels=None, shape=(28, 28))
    dial = variance_dial([Setting(1.0, _vae(5, _fixed))], data, codes=30).data
    assert dial["examples"] == levels(digits.images[:10])
    assert dial["labels"] == [] and dial["colours"] == {}


def test_the_dial_divides_the_variance_of_the_images(digits):
    vae = _vae(20, _fixed)
    with seeded(0):
        dial = variance_dial([Setting(None, vae), Setting(0.5, vae, "a note")], digits, codes=30, samples=4)
    autoencoder, half = dial.data["settings"]
    variance = digits.images.var(dim=0).sum()
    with torch.no_grad():
        means = vae.likelihood(vae.posterior(digits.images).mean).mean
        prior = vae.likelihood(torch.randn(20_000, 20)).mean
    assert autoencoder["explained"][0] == pytest.approx((means.var(dim=0).sum() / variance).item(), rel=1e-5)
    assert half["explained"][0] > autoencoder["explained"][0]  # draws of z spread further than their means
    for setting in (autoencoder, half):
        assert setting["explained"][1] == pytest.approx((prior.var(dim=0).sum() / variance).item(), rel=0.1)
    assert dial.data["noise"] == pytest.approx(784 / variance.item())
    assert autoencoder["means"] == half["means"]  # one decoder, the same codes
    assert half["note"] == "a note" and half["codes"]["shape"] == [2, 30]


def test_the_plane_of_the_dial_is_the_one_that_holds_most_and_keeps_its_bearings(digits):
    vae = _vae(5, _fixed)
    dial = variance_dial([Setting(None, vae), Setting(None, vae)], digits, codes=60)
    first, second = (unpack(setting["codes"]) for setting in dial.data["settings"])
    torch.testing.assert_close(first, second, atol=5e-3, rtol=0)
    with torch.no_grad():
        z = vae.posterior(digits.images).mean.double()
    spectrum = torch.linalg.eigvalsh(z.T.cov()).flip(0)
    setting = dial.data["settings"][1]
    assert setting["shown"] == pytest.approx((spectrum[:2].sum() / spectrum.sum()).item(), rel=1e-4)
    assert torch.linalg.eigvalsh(second.cov()).flip(0).tolist() == pytest.approx(spectrum[:2].tolist(), rel=1e-2)


def test_codes_that_follow_the_prior_lie_in_its_ball_and_others_do_not(digits):
    vae = _vae(20, _fixed)
    with torch.no_grad():
        for part, value in ((vae.encoder.mu, 0.0), (vae.encoder.sigma, math.log(math.e - 1))):  # q(z|x) = N(0, I)
            part.weight.zero_()
            part.bias.fill_(value)
    many = Images(digits.images.repeat(50, 1), digits.labels.repeat(50), (28, 28))
    with seeded(0):
        (prior,) = variance_dial([Setting(1.0, vae)], many).data["settings"]
    assert prior["inside"] == pytest.approx(0.99, abs=0.01)
    with torch.no_grad():
        vae.encoder.mu.bias.fill_(3.0)
    (far,) = variance_dial([Setting(1.0, vae)], many).data["settings"]
    assert far["inside"] < 0.01


def test_alpha_moves_along_the_quantile_images_of_one_seed():
    vae = _vae()
    with seeded(0):
        data = alpha_slider(vae, images=5).data
    means, deviations = unpack(data["means"]), unpack(data["deviations"])
    for alpha in (-2.0, 0.7):
        with seeded(0):
            expected = quantile_images(vae, 5, alpha=alpha)
        torch.testing.assert_close(means + alpha * deviations, expected.double(), atol=2e-3, rtol=0)


def test_levels_are_cut_and_rounded():
    values = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0]])
    assert list(base64.b64decode(levels(values))) == [0, 0, 128, 255, 255]


def test_the_element_is_short_as_text_and_whole_as_html(digits):
    with seeded(0):
        explorer = latent_explorer({"</script>": _vae()}, digits, codes=20)
    assert len(repr(explorer)) < 200
    html = explorer._repr_html_()
    assert html.count("<script") == html.count("</script>") == 2
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert json.loads(data) == explorer.data
    assert np.isfinite(json.loads(data)["models"][0]["limit"])
