r"""Independent work side by side: in processes of one thread each, or on the workers of a dask cluster."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from vaelib.build.processes import end_with
from vaelib.errors import MendableError
from vaelib.study.cache import cache_folder
from vaelib.study.experiment import Experiment, VaeExperiment
from vaelib.study.measures import measured, summary
from vaelib.study.trained import entry, fetch
from vaelib.training import NonFiniteLossError

T = TypeVar("T")

#: A worker of a cluster may have several threads; randomness and threads are settings of the process.
_ONE_AT_A_TIME = Lock()


class ClusterError(MendableError, RuntimeError):
    """The cluster cannot be used, or what it made is not in this cache; the message says what to do."""


class WorkerDiedError(MendableError, RuntimeError):
    """A process that worked for us was killed from outside; the message says what to do."""


class Done(NamedTuple):
    """One finished job: the experiment, the lines that it reported, and what went wrong, empty if nothing did."""

    experiment: Experiment
    lines: tuple[str, ...]
    error: str = ""


def default_jobs(work: int) -> int:
    """As many processes as the machine lets us have, by affinity and quota too, and no more than there is work."""
    return max(1, min(cpu_count(), work))


def side_by_side(work: Sequence[Callable[[], T]], *, jobs: int | None = None) -> Iterator[T]:
    """Call each piece of work in one of `jobs` processes, begun in order; yields what they return as they finish.

    An error ends all of them. A process whose memory has grown is replaced between two pieces, which nobody has to be
    warned of. Raises `WorkerDiedError` where a process is killed.
    """
    workers = jobs or default_jobs(len(work))
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    order: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": workers}
    begin = {"backend": "loky", "initializer": _settle, "initargs": [os.getpid()]}
    try:
        yield from Parallel(n_jobs=workers, **order, **begin)(delayed(piece)() for piece in work)
    except TerminatedWorkerError as error:
        raise WorkerDiedError(
            "a process was killed, perhaps for want of memory; what was finished is kept; run the same command "
            "again, with fewer --jobs if it happens again"
        ) from error


def run_all(
    experiments: Sequence[Experiment],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
    retrain: bool = False,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> Iterator[Done]:
    """Fetch every model and measure every VAE; yields each as it finishes, in whatever order.

    Runs in `jobs` processes of this machine or, given the address of a dask `scheduler`, on its workers, which must
    see the same cache; a job whose worker dies is given to another. `on_epoch` is called after each epoch where one
    process, this one, does all. A model whose loss is not finite is reported in its `Done` and the others
    go on; any other error ends all of them. What was finished is kept.
    """
    # First the classifier, which all wait for, then the VAEs that take longest, the last ones of the catalogue.
    vaes = [experiment for experiment in experiments if isinstance(experiment, VaeExperiment)]
    in_turn = [*(experiment for experiment in experiments if experiment not in vaes), *reversed(vaes)]
    workers = jobs or default_jobs(len(experiments))
    job = partial(_job, cache=cache_folder(), device=device, retrain=retrain)
    if scheduler:
        yield from _on_cluster([partial(job, experiment) for experiment in in_turn], scheduler)
    else:
        job = partial(job, on_epoch=on_epoch) if workers == 1 else job
        yield from side_by_side([partial(job, experiment) for experiment in in_turn], jobs=workers)


def _job(experiment: Experiment, **options: Any) -> Done:
    lines: list[str] = []
    error = ""
    try:
        with _ONE_AT_A_TIME:
            fetch(experiment, **options, report=lines.append)
            if isinstance(experiment, VaeExperiment):
                measured(summary, experiment, cache=options["cache"])
    except NonFiniteLossError as raised:
        error = f"{experiment.name} ({experiment.profile}, seed {experiment.seed}): {raised}"
    return Done(experiment, tuple(lines), error)


def _on_cluster(work: Sequence[Callable[[], Done]], scheduler: str) -> Iterator[Done]:
    """joblib's own dask backend does the same, but waits for ever for a job that takes its worker with it each time."""
    try:
        from distributed import Client, KilledWorker, as_completed

        client = Client(scheduler, timeout="10s")
    except ImportError as error:
        install = "run `make env` in the checkout, or pip install -e '.[cluster]'"
        raise ClusterError(f"a scheduler needs dask.distributed, which is not installed; {install}") from error
    except (OSError, ValueError) as error:
        start = (
            "start one with `.venv/bin/dask scheduler` and workers with `.venv/bin/dask worker ADDRESS --nthreads 1`"
        )
        raise ClusterError(f"no dask scheduler answers at {scheduler!r} ({error}); {start}") from error
    with client:
        for future in as_completed(client.map(partial(_alone, parent=os.getpid()), work, pure=False)):
            try:
                done = future.result()
            except KilledWorker as error:
                memory = "perhaps it has too little memory; what was finished is kept"
                raise ClusterError(f"a job took its worker with it several times ({error}); {memory}") from error
            if not done.error and not entry(done.experiment).exists():
                raise ClusterError(
                    f"{done.experiment.name} was finished by a worker and is not in this cache; give --cache a folder "
                    "that all machines share under the same path, and check out the same commit on all of them"
                )
            yield done


def _alone(piece: Callable[[], Done], parent: int) -> Done:
    """On a cluster's worker, a process of another's, use one thread."""
    if os.getpid() != parent:
        torch.set_num_threads(1)
    return piece()


def _settle(parent: int) -> None:
    """In a process of our own, use one thread, leave Ctrl-C to the parent, which ends all, and end when it is gone."""
    end_with(lambda: os.getppid() == parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
