r"""Which models a notebook looked up, and in which of its cells: noted while it runs, so that its figures can say."""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

#: The environment variable that names the file of notes; without it nothing is noted.
LOOKUPS = "VAELIB_LOOKUPS"


class Lookup(NamedTuple):
    """A model that was looked up, and the execution count of the cell that did."""

    name: str
    profile: str
    seed: int
    cell: int


def note(name: str, profile: str, seed: int) -> None:
    """Note the model for the cell of a notebook that is running, where a file of notes is named."""
    if (file := os.environ.get(LOOKUPS)) and (ipython := sys.modules.get("IPython")) and (shell := ipython.get_ipython()):
        cell = len(shell.history_manager.input_hist_parsed) - 1  # shell.execution_count may be one ahead
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([name, profile, seed, cell]) + "\n")


def noted(file: Path) -> list[Lookup]:
    """The lookups of a run in their order, each once; none if the file is not there."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Lookup(*json.loads(line)) for line in dict.fromkeys(lines)]
