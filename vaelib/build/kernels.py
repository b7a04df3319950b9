r"""Kernels that know nothing of the user's settings, and are spoken to through files: they need no network at all."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import matplotlib

from vaelib.study.cache import cache_folder

#: The name of the kernel in every notebook.
KERNEL = "python3"
#: Where the library that runs lies: a kernel takes the same.
LIBRARY = str(Path(__file__).resolve().parents[2])
#: How the kernel of this environment begins: no variables of Python's, no further packages of the user's, and no
#: configuration for all users or environments either. What the library logs is not for pages.
BEGIN = f"""\
import logging, sys
if {LIBRARY!r} not in sys.path:
    sys.path.insert(0, {LIBRARY!r})
logging.getLogger("vaelib").addHandler(logging.NullHandler())
import IPython.core.application as application
application.SYSTEM_CONFIG_DIRS = application.ENV_CONFIG_DIRS = []
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
ARGUMENTS = [sys.executable, "-E", "-s", "-P", "-X", "utf8", "-c", BEGIN, "-f", "{connection_file}"]
#: The path of a socket has at most some hundred characters.
LONGEST = 60


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder for sockets and settings, with a short path."""
    with TemporaryDirectory(dir="/tmp" if len(gettempdir()) > LONGEST and os.name == "posix" else None) as name:
        yield Path(name)


def kernels(place: Path) -> Path:
    """Where in such a folder the specification of the kernel lies, the only one there."""
    return place / "jupyter" / "kernels"


def sockets(place: Path) -> dict[str, str]:
    """What a kernel's manager is told, so that it and the kernel speak through files."""
    return {"transport": "ipc", "ip": f"{place}/kernel"}


def environment(place: Path) -> dict[str, str]:
    """The variables that a kernel is started with, beside those of this process; its specification is written.

    Folders that we keep ours in are absolute, for a kernel runs elsewhere.
    """
    (kernels(place) / KERNEL).mkdir(parents=True, exist_ok=True)
    specification = {"argv": ARGUMENTS, "display_name": "Python 3", "language": "python"}
    (kernels(place) / KERNEL / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
    data = {"VAELIB_DATA": str(Path(named).expanduser().resolve())} if (named := os.environ.get("VAELIB_DATA")) else {}
    return data | {
        "IPYTHONDIR": str(place / "ipython"),
        "JUPYTER_CONFIG_DIR": str(place / "jupyter"),
        "JUPYTER_CONFIG_PATH": "",
        "JUPYTER_DATA_DIR": str(place / "jupyter"),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PATH": str(place / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
        "LANG": "",
        "LC_ALL": "",  # and not C: where nothing is said, Python takes UTF-8
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": str(cache_folder() / "matplotlib"),
        "MATPLOTLIBRC": f"{matplotlib.get_data_path()}/matplotlibrc",
        "PYTHONSTARTUP": "",
        "VAELIB_CACHE": str(cache_folder()),
    }
