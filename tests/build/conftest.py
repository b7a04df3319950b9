r"""What the tests of the build share."""

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache that this process and all that it starts use."""
    folder = tmp_path / "shared"
    monkeypatch.setenv("VAELIB_CACHE", str(folder))
    return folder
