r"""The lists of CONTRIBUTING are complete: one of each is added to a copy by the files they name, and it is built."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]

HEAD = '''

class WidePixels(nn.Module):
    """A Gaussian twice as wide as a chosen sigma."""

    def __init__(self, *, features: int, shape: Shape, sigma: float) -> None:
        super().__init__()
        self.sigma = positive_std("sigma", sigma)
        self.mu = nn.Linear(features, math.prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, torch.full_like(mu, 2 * self.sigma))
'''
MODEL = """    wide = partial(heads.WidePixels, sigma=0.1)
    yield _Kind(fast, family=Family.COMMON, epochs=1)("wide-d20", "a Gaussian that is wide", head=wide)
"""
CLAIM = """
C99 = Claim("C99", "5.2", "a wide Gaussian keeps a rate")
C99.tested["d = 20"] = Case({"rate, nats": at_least(0, of(latent, "wide-d20", "rate_nats"))})
"""
FIGURE = """\
import torch

from vaelib import plots
from vaelib.sampling import deterministic_sampling
from vaelib.study.models import find_vae
from vaelib.study.trained import fetch

plots.style()
plots.image_grid(deterministic_sampling(fetch(find_vae("wide-d20", profile, seed=seed)).vae, 4), columns=2)"""
EXECUTE = """\
from pathlib import Path
from vaelib.build.notebooks import run
run(Path({source!r}), Path({target!r}), parameters={{}}, timeout=600)
"""
PROBE = """\
import json, sys
from vaelib.study import claims, models, verdicts
from vaelib.study.comparison import frame
from vaelib.study.measures import bits, latent, measurement_key
from vaelib.study.trained import key
found = models.experiments("quick")
told = {"models": {name: key(model) for name, model in found.items()}, "claims": [c.id for c in claims.CLAIMS]}
told["measured"] = measurement_key(latent, found["simple-d20"])
told["contenders"] = [model.name for model in models.contenders("quick", seed=0)]
if "wide-d20" in found:
    row = frame(["wide-d20"], "quick", [0], latent, bits).iloc[0]
    told["row"] = {"bits": row.bits, "family": row.family, "rate": row.rate_nats}
    (claim,) = [c for c in claims.CLAIMS if c.id == "C99"]
    told["verdict"] = str(verdicts.evaluate(claim, "quick", seeds=[0]).verdict)
print(json.dumps(told))
"""


@pytest.fixture
def checkout(tmp_path):
    """The tracked files of this checkout, elsewhere; and a way to run Python there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if name.startswith(("vaelib/", "book/", "pyproject.toml")) and (ROOT / name).is_file():
            target = tmp_path / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "copy"


def run(checkout, *arguments):
    environment = os.environ | {"PYTHONPATH": str(checkout), "VAELIB_CACHE": str(checkout / "_cache")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_one_of_each_is_added_by_the_files_that_the_lists_name(checkout):
    before = json.loads(run(checkout, "-c", PROBE))
    library = checkout / "vaelib"
    gaussian = library / "likelihoods" / "gaussian.py"
    gaussian.write_text(gaussian.read_text(encoding="utf-8") + HEAD, encoding="utf-8")
    edit(library / "likelihoods" / "__init__.py", "    ToleranceGaussian,\n", "    ToleranceGaussian, WidePixels,\n")
    place = "    squared = _Kind(one.settings, no_density="
    edit(library / "study" / "models.py", place, MODEL + place)
    section = library / "study" / "claims" / "section_5_2.py"
    section.write_text(section.read_text(encoding="utf-8") + CLAIM, encoding="utf-8")
    edit(section, "    judged,\n    judged_data,\n", "    judged,\n    judged_data,\n    latent,\n")
    after = json.loads(run(checkout, "-c", PROBE))

    added = after["models"].pop("wide-d20")
    assert after["models"] == before["models"] and added not in before["models"].values()
    assert after["measured"] == before["measured"], "something was to be measured again"
    assert after["claims"] == [*before["claims"], "C99"]
    assert set(after["contenders"]) - set(before["contenders"]) == {"wide-d20"}
    assert 0 < after["row"]["bits"] < 8 and after["row"]["rate"] > 0 and after["row"]["family"] == "a common recipe"
    assert after["verdict"] == "holds"

    figure = {"name": "fig-wide", "caption": "Means of a wide Gaussian."}
    cells = [
        nbformat.v4.new_code_cell('profile = "quick"\nseed = 0', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(FIGURE, metadata={"mystnb": {"figure": figure, "image": {"alt": "Four images."}}}),
    ]
    source, target = checkout / "book" / "wide.ipynb", checkout / "_build" / "wide.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    run(checkout, "-c", EXECUTE.format(source=str(source), target=str(target)))
    cell = nbformat.read(target, as_version=4).cells[-1]
    assert cell.metadata["vaelib"]["models"] == {"quick": {"wide-d20": "0"}}
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)
