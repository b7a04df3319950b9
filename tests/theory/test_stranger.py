r"""The README's lines for one's own images, run as they stand, on grey and on coloured images."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

README = (Path(__file__).parents[2] / "README.md").read_text()
(CODE,) = re.findall(r"^## Use it on your own images\n+```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def blobs():
    """60 images of 32 x 32, each a bright spot somewhere, as levels."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    centres = rng.uniform(8, 24, (60, 2, 1, 1))
    distances = np.square(rows - centres[:, 0]) + np.square(columns - centres[:, 1])
    return (255 * np.exp(-distances / 30)).astype(np.uint8)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_the_lines_of_the_readme_run_as_they_stand(colour, blobs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=np.stack([blobs, blobs // 2, 255 - blobs], axis=-1) if colour else blobs)
    names = {}
    exec(CODE, names)
    shape = (3, 32, 32) if colour else (32, 32)
    assert names["images"].train.shape == shape
    assert all(torch.isfinite(part).all() and part[0].numel() == np.prod(shape) for part in names["pictures"])
    assert "nan" not in capsys.readouterr().out


def test_the_lines_are_at_most_twelve():
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 12
