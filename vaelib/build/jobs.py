r"""Many independent models side by side: one process of one thread per core, or the workers of a dask cluster."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache as memoise
from functools import partial
from multiprocessing import Manager
from pathlib import Path
from queue import Queue
from threading import Lock, Thread, current_thread, main_thread
from typing import NamedTuple

import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from vaelib import data
from vaelib.errors import MendableError
from vaelib.study import comparison as verdict
from vaelib.study.cache import cache_folder
from vaelib.study.claims import CLAIMS
from vaelib.study.experiment import Experiment, VaeExperiment
from vaelib.study.measurements import measured, panel
from vaelib.study.models import PICTURED, SMALL_BETA, beta_name, claim_seeds, find_vae, table_seeds
from vaelib.study.probes import evidence
from vaelib.study.trained import entry, fetch
from vaelib.study.verdicts import evaluate
from vaelib.training import NonFiniteLossError

#: A worker of a cluster may have several threads; randomness and threads are settings of the process.
_ONE_AT_A_TIME = Lock()


class ClusterError(MendableError, RuntimeError):
    """The cluster cannot be used, or what it made is not in this cache; the message says what to do."""


class WorkerDiedError(MendableError, RuntimeError):
    """A process that trained was killed from outside; the message says what to do."""


class Done(NamedTuple):
    """One finished job: the experiment, the lines that it reported, and what went wrong, empty if nothing did."""

    experiment: Experiment
    lines: tuple[str, ...]
    error: str = ""


def default_jobs(work: int) -> int:
    """As many processes as the machine has cores for us, and no more than there is work."""
    return max(1, min(cpu_count(), work))


def run_all(
    experiments: Sequence[Experiment],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    cache: Path | str | None = None,
    device: torch.device | str = "cpu",
    retrain: bool = False,
    on_epoch: Callable[[], object] = lambda: None,
) -> Iterator[Done]:
    """Fetch every model and measure every VAE; yields each as it finishes, in whatever order.

    Runs in `jobs` processes of this machine or, given the address of a dask `scheduler`, on its workers, which must
    see the same `cache` folder; a job whose worker dies is given to another. `on_epoch` is called in this process
    after each epoch of any of them (not on a cluster). A model whose loss is not finite is reported in its `Done` and
    the others go on; any other error ends all of them. What was finished is kept.
    """
    workers = jobs or default_jobs(len(experiments))
    if workers < 1:
        raise ValueError(f"jobs must be at least 1, got {workers}")
    options = _Options(cache=cache_folder(cache), device=device, retrain=retrain, parent=os.getpid())
    if scheduler:
        yield from _on_cluster(partial(_job, options=options, epochs=None), _in_turn(experiments), scheduler, cache)
        return
    with _announced(on_epoch) as epochs:
        try:
            work = (delayed(_job)(experiment, options, epochs) for experiment in _in_turn(experiments))
            yield from _parallel(workers)(work)
        except TerminatedWorkerError as error:
            raise WorkerDiedError(
                "a process was killed, perhaps for want of memory; what was finished is kept; run the same command "
                "again, with fewer --jobs if it happens again"
            ) from error


def _in_turn(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The yardstick, which all wait for, then those that take longest, the last ones of the catalogue."""
    vaes = [experiment for experiment in experiments if isinstance(experiment, VaeExperiment)]
    return [experiment for experiment in experiments if experiment not in vaes] + vaes[::-1]


def measure_book(profile: str, *, seed: int, jobs: int | None = None, cache: Path | str | None = None) -> None:
    """Make every measurement behind tables, claims and their checks; whoever asks later finds it in the cache."""
    tables = [
        partial(verdict.measure, model, cache=cache)
        for repeat in table_seeds(seed)
        for model in verdict.contenders(profile, seed=repeat)
        if repeat == seed or model.name not in PICTURED
    ]
    checks = [
        partial(measured, evidence, find_vae(beta_name(beta, latent_dim=2), profile, seed=seed), cache=cache)
        for beta in (1.0, SMALL_BETA)
    ]
    _run([*reversed(tables), *checks, *_claims(profile, claim_seeds(profile, seed), cache)], jobs)


def measure_claims(
    profile: str, *, seeds: Sequence[int], jobs: int | None = None, cache: Path | str | None = None
) -> None:
    """Make every measurement behind the claims under each seed."""
    _run(_claims(profile, seeds, cache), jobs)


def _claims(profile: str, seeds: Sequence[int], cache: Path | str | None) -> list[partial[None]]:
    """A piece of work for each claim and seed."""
    return [partial(_measure_claim, number, profile, seed, cache) for seed in seeds for number in range(len(CLAIMS))]


def _run(work: Sequence[Callable[[], object]], jobs: int | None) -> None:
    for _ in _parallel(jobs or default_jobs(len(work)))(delayed(_settled)(piece, os.getpid()) for piece in work):
        pass


def _parallel(workers: int) -> Parallel:
    """A process whose memory has grown is replaced between two jobs, which nobody has to be warned of."""
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    return Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)


def _settled(piece: Callable[[], object], parent: int) -> None:
    _settle(parent)
    piece()


def _measure_claim(number: int, profile: str, seed: int, cache: Path | str | None) -> None:
    evaluate(CLAIMS[number], profile, seeds=[seed], cache=cache)


class _Options(NamedTuple):
    cache: Path | str | None
    device: torch.device | str
    retrain: bool
    parent: int


def _on_cluster(
    job: Callable[[Experiment], Done], experiments: Sequence[Experiment], scheduler: str, cache: Path | str | None
) -> Iterator[Done]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise ClusterError(
            "a scheduler needs dask.distributed, which is not installed; in the checkout run `make env` or "
            "pip install -e '.[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {scheduler!r} ({error}); start one with `.venv/bin/dask scheduler` and "
            "workers with `.venv/bin/dask worker ADDRESS --nthreads 1`"
        ) from error
    with client:
        finished = as_completed(client.map(job, experiments, pure=False))
        for future in finished:
            try:
                done = future.result()
            except KilledWorker as error:
                raise ClusterError(
                    f"a job took its worker with it several times ({error}); perhaps it has too little memory; what "
                    "was finished is kept"
                ) from error
            if not done.error and not entry(done.experiment, cache=cache).exists():
                raise ClusterError(
                    f"{done.experiment.name} was finished by a worker and is not in this cache; give --cache a folder "
                    "that all machines share under the same path, and check out the same commit on all of them"
                )
            yield done


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


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """In this thread, take numbers below 1e-38, which a processor handles slowly, for 0.

    Adam's averages get there after some 800 steps without a gradient, as at pixels that are always black. Weights do
    not: they are the same bit for bit, up to a third sooner.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _job(experiment: Experiment, options: _Options, epochs: "Queue[int | None] | None") -> Done:
    _settle(options.parent)
    lines: list[str] = []
    with _ONE_AT_A_TIME if epochs is None else nullcontext():
        try:
            with subnormals_as_zero():
                fetch(
                    experiment,
                    cache=options.cache,
                    device=options.device,
                    retrain=options.retrain,
                    report=lines.append,
                    on_epoch=epochs.put if epochs else lambda epoch: None,
                )
            if isinstance(experiment, VaeExperiment):
                panel(experiment, cache=options.cache)
        except NonFiniteLossError as error:
            label = f"{experiment.name} ({experiment.profile}, seed {experiment.seed})"
            return Done(experiment, tuple(lines), f"{label}: {error}")
    return Done(experiment, tuple(lines))


def _settle(parent: int) -> None:
    """In a process of its own, use one thread, read images once and leave Ctrl-C to the parent, which ends all."""
    if os.getpid() != parent:
        torch.set_num_threads(1)
        _keep_images()
        if current_thread() is main_thread():  # elsewhere, as on a cluster's worker, signals are not ours
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@memoise
def _keep_images() -> None:
    """From now on read and verify the images of a profile once: a process has many jobs, and none changes them."""
    for profile, load in data.PROFILES.items():
        data.PROFILES[profile] = memoise(load)
