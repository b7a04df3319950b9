r"""Many independent models side by side: one process of one thread per core."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Manager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import NamedTuple

import torch
from joblib import Parallel, cpu_count, delayed

from vaelib import verdict
from vaelib.claims import evaluate
from vaelib.experiments import Experiment, VaeExperiment
from vaelib.hypotheses import CLAIMS
from vaelib.measurements import panel
from vaelib.trained import fetch


class Done(NamedTuple):
    """One finished job: the experiment and the lines that it reported."""

    experiment: Experiment
    lines: tuple[str, ...]


def default_jobs(work: int) -> int:
    """As many processes as the machine has cores for us, and no more than there is work."""
    return max(1, min(cpu_count(), work))


def run_all(
    experiments: Sequence[Experiment],
    *,
    jobs: int | None = None,
    cache: Path | str | None = None,
    device: torch.device | str = "cpu",
    retrain: bool = False,
    on_epoch: Callable[[], object] = lambda: None,
) -> Iterator[Done]:
    """Fetch every model and measure every VAE; yields each as it finishes, in whatever order.

    `on_epoch` is called in this process after each epoch of any of them. An error in one job ends all of them; what
    was finished is kept.
    """
    workers = jobs or default_jobs(len(experiments))
    if workers < 1:
        raise ValueError(f"jobs must be at least 1, got {workers}")
    options = _Options(cache=cache, device=device, retrain=retrain, parent=os.getpid())
    with _announced(on_epoch) as epochs:
        parallel = Parallel(
            n_jobs=workers,
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=workers,
        )
        yield from parallel(delayed(_job)(experiment, options, epochs) for experiment in experiments)


def measure_claims(
    profile: str, *, seeds: Sequence[int], jobs: int | None = None, cache: Path | str | None = None
) -> None:
    """Make every measurement behind the claims under each seed, so that whoever asks later finds it in the cache."""
    work = [(number, seed) for number in range(len(CLAIMS)) for seed in seeds]
    Parallel(n_jobs=jobs or default_jobs(len(work)), batch_size=1)(
        delayed(_measure_claim)(number, profile, seed, cache, os.getpid()) for number, seed in work
    )


def _measure_claim(number: int, profile: str, seed: int, cache: Path | str | None, parent: int) -> None:
    _settle(parent)
    evaluate(CLAIMS[number], profile, seeds=[seed], cache=cache)


class _Options(NamedTuple):
    cache: Path | str | None
    device: torch.device | str
    retrain: bool
    parent: int


@contextmanager
def _announced(on_epoch: Callable[[], object]) -> Iterator["Queue[int | None]"]:
    """A queue between processes; `on_epoch` is called in this one for each epoch that a worker puts into it."""
    with Manager() as manager:
        queue: Queue[int | None] = manager.Queue()

        def listen() -> None:
            while queue.get() is not None:
                on_epoch()

        thread = Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield queue
        finally:
            queue.put(None)
            thread.join()


def _job(experiment: Experiment, options: _Options, epochs: "Queue[int | None]") -> Done:
    _settle(options.parent)
    lines: list[str] = []
    fetch(
        experiment,
        cache=options.cache,
        device=options.device,
        retrain=options.retrain,
        report=lines.append,
        on_epoch=epochs.put,
    )
    if isinstance(experiment, VaeExperiment):
        panel(experiment, cache=options.cache)
        verdict.measure(experiment, cache=options.cache)
    return Done(experiment, tuple(lines))


def _settle(parent: int) -> None:
    """In a process of its own, use one thread and leave Ctrl-C to the parent, which ends all of them."""
    if os.getpid() != parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(1)
