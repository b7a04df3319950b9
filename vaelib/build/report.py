r"""How a book was computed, as Markdown: commit, data, machine, versions, and the seconds of notebooks and models."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import requires, version
from pathlib import Path

import nbformat
import psutil
from packaging.requirements import Requirement

from vaelib import data
from vaelib.study import reference as published
from vaelib.study.experiment import Experiment
from vaelib.study.models import behind_the_book
from vaelib.study.trained import entry
from vaelib.study.verdicts import table

#: Where Linux says what the processor is called.
CPU_INFO = Path("/proc/cpuinfo")


def computed_markdown(profile: str, *, seed: int, notebooks: Sequence[Path], cache: Path | str | None = None) -> str:
    """The page's body: commit and data, machine, versions, seconds per executed notebook and per model."""
    sections = {
        "What was built": origin_markdown(profile, seed=seed),
        "The machine": machine_markdown(),
        "Versions": versions_markdown(),
        "Seconds for each notebook": notebooks_markdown(notebooks),
        "Seconds for each model": models_markdown(behind_the_book(profile, seed=seed), cache=cache),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items()) + "\n"


def origin_markdown(profile: str, *, seed: int) -> str:
    """Commit, profile, seed and data with checksum."""
    images = data.load(profile)
    counted = "all pixels" if profile == "quick" else "the pixels of the training images"
    rows = [
        ("commit", commit_in_words(published.commit(), commit_date())),
        ("profile and seed", f"{profile}, seed {seed}; claims and tables also use the seeds after it"),
        (
            "data",
            f"{images.dataset}, {len(images.train):,} training and {len(images.test):,} test images, read from "
            f"{images.source}",
        ),
        (f"SHA-256 of {counted}", f"`{images.sha256}`"),
    ]
    return table(rows, "what", "value")


def commit_in_words(commit: str, date: str) -> str:
    """What `published.commit` says, in words: the commit, its date, and whether files had been changed since."""
    if commit == "unknown":
        return "unknown: the book was built outside of a git checkout"
    changed = ", with files changed since" if commit.endswith("-dirty") else ""
    return f"`{commit.removesuffix('-dirty')}` of {date}{changed}"


def commit_date() -> str:
    """The day of the checkout's commit; 'unknown' outside of one."""
    command = ["git", "log", "-1", "--format=%cs"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def machine_markdown() -> str:
    """Processor, cores, memory and operating system of the machine on which this runs."""
    rows = [
        ("processor", f"{processor()} ({platform.machine()})"),
        ("cores", f"{psutil.cpu_count(logical=False) or 'unknown'}, for {psutil.cpu_count()} threads"),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.1f} GiB"),
        ("operating system", f"{platform.system()} {platform.release()}"),
        ("threads of each process", os.environ.get("OMP_NUM_THREADS", "as many as torch takes")),
    ]
    return table(rows, "what", "value")


def processor() -> str:
    """The processor's name as its maker spells it, where the system tells."""
    named = CPU_INFO.is_file() and re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(), re.MULTILINE)
    return named[1] if named else platform.processor() or "unknown"


def versions_markdown() -> str:
    """Python and every package that the library and the book ask for by name; all others are in the lock."""
    asked = [Requirement(text) for text in requires("vaelib") or []]
    needed = {one.name for one in asked if not one.marker or one.marker.evaluate({"extra": "book"})}
    rows = [("python", platform.python_version()), ("vaelib", version("vaelib"))]
    return table(rows + [(name, version(name)) for name in sorted(needed)], "package", "version")


def notebooks_markdown(notebooks: Sequence[Path]) -> str:
    """Seconds that papermill noted in each executed notebook, and their sum."""
    seconds = {path: nbformat.read(path, as_version=4).metadata["papermill"]["duration"] for path in notebooks}
    rows = [(f"{{doc}}`{path.stem}`", f"{value:.1f}") for path, value in seconds.items()]
    return table([*rows, ("all", f"{sum(seconds.values()):.1f}")], "notebook", "seconds")


def models_markdown(experiments: Sequence[Experiment], *, cache: Path | str | None = None) -> str:
    """Seconds of training by name of model: over how many seeds, the sum and the range; failed models are left out."""
    seconds: dict[str, list[float]] = {}
    for experiment in experiments:
        place = entry(experiment, cache=cache)
        if place.exists():
            seconds.setdefault(experiment.name, []).append(place.read()[0]["seconds"])
    everything = [value for values in seconds.values() for value in values]
    rows = [(f"`{name}`", str(len(values)), f"{sum(values):.0f}", spread(values)) for name, values in seconds.items()]
    total = ("all", str(len(everything)), f"{sum(everything):.0f}", spread(everything))
    return table([*rows, total], "model", "seeds", "seconds, sum", "one model")


def spread(seconds: Sequence[float]) -> str:
    """The least and the most of some seconds, to a tenth."""
    if not seconds:
        return "-"
    least, most = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    return least if least == most else f"{least} to {most}"
