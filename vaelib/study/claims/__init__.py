r"""The claims of the source, C01 to C31: what each says in our words, its metrics and its thresholds.

Thresholds were written down before the runs that they judge and are not changed afterwards; a case that was added after
a first run is `explored` and does not enter the verdict. Where the source leaves a choice open, each value of the
choice is a case of its own (see `vaelib.study.judging` for how cases make a verdict). A claim is added to the module
of its section.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path

from vaelib.study.claims import section_5_1, section_5_2, section_5_3, section_5_4, section_5_5, section_5_6
from vaelib.study.claims.criteria import Claim
from vaelib.study.claims.quantities import Need, Run
from vaelib.study.classifier import classifier_experiment
from vaelib.study.experiment import Experiment
from vaelib.study.trained import key
from vaelib.training import NonFiniteLossError

SECTIONS = (section_5_1, section_5_2, section_5_3, section_5_4, section_5_5, section_5_6)
CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (found for section in SECTIONS for found in vars(section).values() if isinstance(found, Claim)),
        key=attrgetter("id"),
    )
)

#: A claim, and what it is to be measured under.
Task = tuple[Claim, Run]


def tasks(profile: str, seeds: Sequence[int], cache: Path | str | None = None) -> list[Task]:
    """Every claim under every seed."""
    return [(claim, Run(profile, seed, cache)) for claim in CLAIMS for seed in seeds]


def pieces(profile: str, seeds: Sequence[int], cache: Path | str | None = None) -> list[Callable[[], object]]:
    """The work behind all claims, in pieces that can be done side by side; see :func:`measurements`."""
    return measurements(tasks(profile, seeds, cache))


def measurements(tasks: Iterable[Task]) -> list[Callable[[], object]]:
    """For each thing that the tasks need, once, a function that makes it, unless its model cannot be trained."""
    needed = {need.key(run): partial(_make, need, run) for claim, run in tasks for need in claim.needs}
    return list(needed.values())


def models(tasks: Iterable[Task]) -> dict[str, Experiment]:
    """Every model that the tasks need, with those that they start from and the classifier, by key."""
    needed: dict[str, Experiment] = {}
    for claim, run in tasks:
        pending: list[Experiment | None] = [classifier_experiment(run.profile)]
        pending += [run.model(name) for need in claim.needs for name in need.models]
        while pending:
            if model := pending.pop():
                needed[key(model)] = model
                pending.append(model.start)
    return needed


def _make(need: Need, run: Run) -> None:
    with suppress(NonFiniteLossError):
        need.read(run)
