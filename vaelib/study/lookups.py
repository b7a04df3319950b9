r"""Which models a cell of a notebook looks up: noted while the book runs it, for the build to read."""

import json
import os
import sys
from pathlib import Path

#: The environment variable that names the file of notes; lookups are noted only where it is set.
NOTES = "VAELIB_LOOKUPS"


def note(name: str, profile: str, seed: int) -> None:
    """Append name, profile, seed and the execution count of the running cell to the file of notes, if there is one."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell and (file := os.environ.get(NOTES)):
        cell = len(shell.history_manager.input_hist_parsed) - 1  # shell.execution_count may be one ahead
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([name, profile, seed, cell]) + "\n")
