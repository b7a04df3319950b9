r"""How long the whole book takes: from nothing, again, after one edit, on more data. In a clone with its own cache."""

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

#: What `make bench` sets for itself, or what would lead out of the clone.
SET_HERE = ("MAKEFLAGS", "OMP_NUM_THREADS", "PYTHONPATH", "VAELIB_CACHE")


def seconds(profile: str) -> dict[str, float]:
    """Seconds of `make book` in a fresh clone of the last commit: packages, cold, warm, one notebook edited.

    Then cold under another profile, where that is to be had. The index of packages and what pip keeps of it are those
    of this machine.
    """
    root = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name not in SET_HERE}
    with TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)

        def make(*targets: str) -> float:
            started = time.perf_counter()
            subprocess.run(["make", *targets], cwd=clone, check=True, env=environment, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

        taken = {"packages": make("env"), "cold": make("book"), "warm": make("book")}
        page = clone / "book" / "5_1_simple_vae.ipynb"
        page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        taken["one notebook edited"] = make("book")
        if profile != "quick":
            taken[f"profile {profile}, cold"] = make("book", f"PROFILE={profile}")
    return taken
