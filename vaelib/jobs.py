r"""Many independent models side by side: one process of one thread per core."""

import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Manager
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import NamedTuple

import torch
from joblib import Parallel, cpu_count, delayed

from vaelib.experiments import Experiment, VaeExperiment, fetch
from vaelib.measurements import panel


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
    options = _Options(cache=cache, device=device, retrain=retrain)
    with Manager() as manager, _listener(manager, on_epoch) as epochs:
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)
        yield from parallel(delayed(_job)(experiment, options, epochs) for experiment in experiments)


class _Options(NamedTuple):
    cache: Path | str | None
    device: torch.device | str
    retrain: bool


class _listener:  # noqa: N801 - reads as a context manager
    """Calls `on_epoch` here for each epoch that a worker announces through the queue."""

    def __init__(self, manager: SyncManager, on_epoch: Callable[[], object]) -> None:
        self.queue: Queue[int | None] = manager.Queue()
        self.thread = Thread(target=self._listen, args=(on_epoch,), daemon=True)

    def _listen(self, on_epoch: Callable[[], object]) -> None:
        while self.queue.get() is not None:
            on_epoch()

    def __enter__(self) -> "Queue[int | None]":
        self.thread.start()
        return self.queue

    def __exit__(self, *_: object) -> None:
        self.queue.put(None)
        self.thread.join()


def _job(experiment: Experiment, options: _Options, epochs: "Queue[int | None]") -> Done:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
    torch.set_num_threads(1)
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
    return Done(experiment, tuple(lines))
