r"""How long the whole book takes: from nothing, again, and after one edit. In a clone, with a cache of its own."""

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

#: What `make bench` sets for itself, or what would lead out of the clone.
SET_HERE = ("MAKEFLAGS", "OMP_NUM_THREADS", "PYTHONPATH", "VAELIB_CACHE")


def seconds() -> dict[str, float]:
    """Seconds of `make book` in a fresh clone of the last commit: packages, cold, warm, one notebook edited.

    The index of packages and what pip keeps of it are those of this machine.
    """
    root = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name not in SET_HERE}
    with TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)

        def make(target: str) -> float:
            started = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, check=True, env=environment, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

        taken = {"packages": make("env"), "cold": make("book"), "warm": make("book")}
        page = clone / "book" / "5_1_simple_vae.ipynb"
        page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        taken["one notebook edited"] = make("book")
    return taken
