r"""Where results come from: commit, versions and machine of a build, and the models behind each figure."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import requires, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from nbformat import NotebookNode
from packaging.requirements import Requirement

from vaelib.errors import MendableError

#: Where Linux says what the processor is called.
CPU_INFO = Path("/proc/cpuinfo")
CHECKOUT = Path(__file__).resolve().parents[2]
#: The part of the metadata that is ours: of a cell what its figure is made from, of a notebook what it was run with.
OURS = "vaelib"
MADE_FROM = "made_from"


class ProvenanceError(MendableError, ValueError):
    """A figure does not say what it is made from, or not what the run saw; the message says which."""


class Lookup(NamedTuple):
    """What `vaelib.study.lookups` notes: a model, and the execution count of the cell that looked it up."""

    name: str
    profile: str
    seed: int
    cell: int


def git(*arguments: str, root: Path | None = None) -> str | None:
    """What git says of a checkout, by default that which this code is in; None where there is none.

    A repository around a checkout without one, and one that the environment names, are not asked.
    """
    place = (root or CHECKOUT).resolve()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def ask(*words: str) -> str:
        command = ["git", "-C", str(place), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return ask(*arguments) if Path(ask("rev-parse", "--show-toplevel")) == place else None
    except (OSError, subprocess.CalledProcessError):
        return None


def commit() -> str:
    """The commit of the checkout, marked where more than results was changed; 'unknown' outside of one."""
    said = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)book/results")
    return f"{said}-dirty" if said and changed else said or "unknown"


def commit_in_words() -> str:
    """The commit, its date, and whether files had been changed since."""
    name = commit()
    if name == "unknown":
        return "unknown: the book was built outside of a git checkout"
    changed = ", with files changed since" if name.endswith("-dirty") else ""
    return f"`{name.removesuffix('-dirty')}` of {git('log', '-1', '--format=%cs')}{changed}"


def processor() -> str:
    """The processor's name as its maker spells it, where the system tells."""
    named = CPU_INFO.is_file() and re.search(
        r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE
    )
    return named[1] if named else platform.processor() or "unknown"


def machine() -> dict[str, str]:
    """Processor, cores, memory and operating system of the machine on which this runs."""
    return {
        "processor": f"{processor()} ({platform.machine()})",
        "cores": f"{psutil.cpu_count(logical=False) or 'unknown'}, for {psutil.cpu_count()} threads",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "operating system": f"{platform.system()} {platform.release()}",
        "threads of each process": os.environ.get("OMP_NUM_THREADS", "as many as torch takes"),
    }


def versions() -> dict[str, str]:
    """Python and every package that the library and the book ask for by name; all others are in the lock."""
    asked = [Requirement(text) for text in requires("vaelib") or []]
    extras = ("", "study", "build", "book")
    needed = {r.name for r in asked if not r.marker or any(r.marker.evaluate({"extra": e}) for e in extras)}
    return {"python": platform.python_version()} | {name: version(name) for name in ("vaelib", *sorted(needed))}


def attribute(notebook: NotebookNode, notes: Path, parameters: dict[str, Any]) -> None:
    """Say in the metadata of each cell that makes a figure which models it is made from, and how it was run.

    The models are those that the cell names as `made_from`, else those that it looked up itself. They are grouped by
    profile and name, with the seeds under which this cell looked them up, or else those before it, as a text such as
    0-2; `notes` is the file of the run's lookups. Raises `ProvenanceError` as :func:`made_from` does.
    """
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    lookups = [Lookup(*json.loads(line)) for line in dict.fromkeys(lines)]
    for number, cell in enumerate(notebook.cells):
        declared = cell.metadata.pop(OURS, {}).get(MADE_FROM)
        if makes_figure(cell):
            names = made_from(declared, lookups, cell.execution_count, f"cell {number}{_figure_name(cell)}")
            models: dict[str, dict[str, str]] = {}
            for name in sorted(names):
                there = [look for look in lookups if look.name == name and look.cell <= cell.execution_count]
                here = [look for look in there if look.cell == cell.execution_count] or there
                for profile in sorted({look.profile for look in here}):
                    seeds = (look.seed for look in here if look.profile == profile)
                    models.setdefault(profile, {})[name] = seed_ranges(seeds)
            said = {} if declared is None else {MADE_FROM: declared}
            cell.metadata[OURS] = {**said, "models": models, "parameters": dict(parameters)}


def made_from(declared: list[str] | None, lookups: Sequence[Lookup], count: int, where: str) -> set[str]:
    """The names of the models behind the figure of the cell with this execution count.

    Raises `ProvenanceError`, which begins with `where`, if the cell neither declares nor looks up any, looks up one
    that it does not declare, or declares one that neither it nor a cell before it looked up.
    """
    own = {look.name for look in lookups if look.cell == count}
    if declared is None:
        if not own:
            raise ProvenanceError(
                f'{where} looks up no model: say in its metadata, {{"{OURS}": {{"{MADE_FROM}": [...]}}}}, which models '
                "its figure is made from, [] for none"
            )
        return own
    if unsaid := own - set(declared):
        raise ProvenanceError(f"{where} looks up {_listed(unsaid)}, which its {MADE_FROM} does not name")
    if unseen := set(declared) - {look.name for look in lookups if look.cell <= count}:
        raise ProvenanceError(f"{where} is {MADE_FROM} {_listed(unseen)}, which no cell until there looks up")
    return set(declared)


def makes_figure(cell: NotebookNode) -> bool:
    """Whether a cell's metadata give its output a caption and a number, or its output is interactive, that is HTML."""
    return "figure" in cell.metadata.get("mystnb", {}) or any(
        "text/html" in output.get("data", {}) for output in cell.get("outputs", [])
    )


def seed_ranges(seeds: Iterable[int]) -> str:
    """Seeds as a text such as 0-2,7."""
    runs = groupby(enumerate(sorted(set(seeds))), key=lambda pair: pair[1] - pair[0])
    ends = [[seed for _, seed in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


def _figure_name(cell: NotebookNode) -> str:
    name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
    return f" ({name})" if name else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
