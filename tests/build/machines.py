r"""What the tests of faults share: models that are trained in a second, scripts of their own, namespaces, notebooks."""

import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from vaelib.study.classifier import ClassifierExperiment

#: A model that is trained in a second or two, and one that takes long enough to be killed.
TINY = ClassifierExperiment(name="tiny", purpose="a test", epochs=1)
LONGER = replace(TINY, name="longer", epochs=2, seed=1)
PREAMBLE = """
    import os, signal, sys
    from dataclasses import replace
    from vaelib.study import cache as store
    from vaelib.study.classifier import ClassifierExperiment
    from vaelib.errors import MendableError
    from vaelib.study.trained import entry, fetch
    TINY = ClassifierExperiment(name="tiny", purpose="a test", epochs=1)
    LONGER = replace(TINY, name="longer", epochs=2, seed=1)
"""


def script(body: str) -> list[str]:
    """The command that runs a few lines after the preamble."""
    return [sys.executable, "-c", textwrap.dedent(PREAMBLE) + textwrap.dedent(body)]


def missing(what: str):
    """Skip a test for want of something that a user's system may lack; where `CI` is true, let the test fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def in_namespace(*commands: str) -> list[str]:
    """The beginning of a command that runs after these, as root of a namespace of its own; see `missing`."""
    kinds = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
    before = " && ".join(commands)
    if not shutil.which("unshare"):
        missing("this system has no command unshare")
    tried = subprocess.run([*kinds, "sh", "-c", before], capture_output=True, text=True)
    if tried.returncode:
        missing(f"this system allows no namespaces: {tried.stderr}")
    return [*kinds, "sh", "-c", f'{before} && exec "$0" "$@"']


def under_permissions() -> list[str]:
    """The beginning of a command that permissions hold for, as they do not for root; see `missing`."""
    if os.geteuid():
        return []
    if not shutil.which("unshare") or subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode:
        missing("this system lets root give up no rights")
    return ["unshare", "--user"]


NOTEBOOK = [
    ("profile = 'quick'\nseed = 0\nrate = 0.5\nnoisy = False\ntitle = 'x'", ["parameters"]),
    ("from pathlib import Path\nPath('started').touch()", []),
]


def notebook(folder: Path, *sources: str) -> Path:
    """A notebook with a cell of parameters, one that says that it was started, and further cells."""
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": tags})
        for source, tags in [*NOTEBOOK, *((source, []) for source in sources)]
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    file = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)
    return file
