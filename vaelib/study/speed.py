r"""What `make bench` stored of some machines, and the ratios that the book draws from it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelib.errors import MendableError
from vaelib.study.reference import results_folder

#: A curve: x `[n]`, and the values of repeated runs `[runs, n]`.
Curve = tuple[list[float], list[list[float]]]

#: The loops by their labels, in the order of the legend.
LOOPS = {
    "this book, falling rate": "ours",
    "this book, constant rate": "ours_as_tutorial",
    "tutorial": "tutorial",
    "pythae": "pythae",
}
#: The sizes that are changed one at a time, and what they are otherwise.
USUAL_SIZES = {"batch": 128, "latent dimension": 20, "width": 400}


class SpeedError(MendableError, LookupError):
    """There are no measured speeds; the message says what to do."""


@dataclass(frozen=True)
class Machine:
    """One machine: its name, and what was measured on it; rates are images per second, or operations per second."""

    name: str
    measured: dict[str, Any]

    def rate(self, loop: str) -> float:
        """Images per second of a loop, in batches of 128 where its name does not say otherwise."""
        return float(self.measured["images_per_second"][loop])

    def over(self, loop: str) -> float:
        """How many times as many images per second as another loop this book's trains."""
        return self.rate("this book") / self.rate(loop)

    @property
    def products(self) -> float:
        """Images per second of the matrix products of a step and nothing else."""
        return float(self.measured["products_alone"]["128"])

    @property
    def mark(self) -> float:
        """The test ELBO in nats that the tutorial ends with."""
        return float(self.measured["tutorial"]["elbo"][-1])

    @property
    def arrival(self) -> float:
        """The tutorial's time over the time in which the book's schedule reaches the tutorial's ELBO; 0 if never."""
        ours = self.measured["ours"]
        passed = (s for s, elbo in zip(ours["seconds"], ours["elbo"], strict=True) if elbo >= self.mark)
        return float(self.measured["tutorial"]["seconds"][-1] / next(passed, float("inf")))

    @property
    def as_tutorial(self) -> float:
        """The tutorial's time over that of this book's loop for as many epochs at the tutorial's own rate."""
        return float(self.measured["tutorial"]["seconds"][-1] / self.measured["ours_as_tutorial"]["seconds"][-1])

    @property
    def two_processes(self) -> float:
        """The time of one process with two threads over that of two processes with one."""
        return float(self.measured["processes"]["one process"] / self.measured["processes"]["two processes"])

    @property
    def many_over_few(self) -> float:
        """The cost of an image of the simple VAE among 60,000 over its cost among 1,000."""
        cost = self.measured["scaling"]["simple-d20"]["images"]
        return float(cost["60000"] / cost["1000"])

    def ways(self) -> dict[str, Curve]:
        """Test ELBO against seconds of training, for each loop."""
        courses = {label: self.measured[loop] for label, loop in LOOPS.items()}
        return {label: (course["seconds"], [course["elbo"]]) for label, course in courses.items()}

    def sizes(self, model: str) -> dict[str, Curve]:
        """Microseconds per image against each size, in multiples of the usual one."""
        sizes = self.measured["scaling"][model]
        return {
            f"{size}, {self.name}": ([int(n) / usual for n in sizes[size]], [list(sizes[size].values())])
            for size, usual in USUAL_SIZES.items()
        }


def load_all(folder: Path | None = None) -> list[Machine]:
    """The machines whose files are in the folder, by default that of the book, by name.

    Raises `SpeedError` if there are none.
    """
    folder = folder or results_folder() / "speed"
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SpeedError(f"{folder.resolve()} holds no measured speeds; restore the folder, or run: make bench")
    return [Machine(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def row(label: str, value: Callable[[Machine], float], machines: Iterable[Machine], *, form: str) -> list[str]:
    """A row of a table: the label, and one number of each machine."""
    return [label, *(f"{value(machine):{form}}" for machine in machines)]


def between(value: Callable[[Machine], float], machines: Iterable[Machine], *, form: str) -> str:
    """The smallest and the largest of the machines' numbers, as in '1.8 to 3.3'; one number if they read the same."""
    numbers = [value(machine) for machine in machines]
    return " to ".join(dict.fromkeys(f"{end:{form}}" for end in (min(numbers), max(numbers))))
