r"""Work that somebody waits for: models trained and things measured side by side, with a word on how far it is."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vaelib.build import given
from vaelib.build.processes import now_and_then, time_left

if TYPE_CHECKING:  # torch is imported by the functions that need it
    from vaelib.study.experiment import Experiment

console = Console(soft_wrap=True, highlight=False)


def make(
    experiments: "Sequence[Experiment]", *, jobs: int | None, scheduler: str | None = None, **options: Any
) -> set[str]:
    """Train and measure, with a word on each model; the keys of those that failed."""
    from vaelib.build.jobs import default_jobs, run_all
    from vaelib.mnist import provide
    from vaelib.study.trained import entry, key

    if not scheduler:
        given.device(options.get("device", "cpu"))
    missing = {key(e): e.epochs for e in experiments if options.get("retrain") or not entry(e).exists()}
    epochs = sum(missing.values())
    if missing and not scheduler:  # else the machines that train have the images
        provide(experiments[0].profile)
    workers = jobs or default_jobs(len(experiments))
    where = f"on {scheduler}" if scheduler else f"in {workers} {'process' if workers == 1 else 'processes'}"
    cached = f"{len(experiments) - len(missing)} in the cache, {len(missing)} to train {where}"
    console.print(f"{len(experiments)} models ({experiments[0].profile} profile): {cached}")
    failed = set()
    with progress("training", len(missing), "models") as advance:
        # One process, this one, says how far it is within a model too.
        if alone := workers == 1 and not scheduler:
            options["on_epoch"] = lambda epoch: advance(len(missing) / epochs)
        for done in run_all(experiments, **options, jobs=workers, scheduler=scheduler):
            for line in done.lines:
                if not line.endswith("loaded"):
                    console.print(line)
            if done.error:
                failed.add(key(done.experiment))
                console.print(f"[bold red]Failed:[/] {escape(done.error)}")
            if not alone and key(done.experiment) in missing:
                advance(1)
    return failed


def measure(pieces: Sequence[Callable[[], object]], *, jobs: int | None) -> None:
    """Call all pieces of work, in so many processes."""
    from vaelib.build.jobs import side_by_side

    with progress("measuring", len(pieces), "pieces") as advance:
        for _ in side_by_side(pieces, jobs=jobs):
            advance(1)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[float], None]]:
    """A bar with an estimate of the time left; a line now and then where there is no terminal, as in a log."""
    columns = BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TextColumn(unit), TimeElapsedColumn()
    began = time.monotonic()

    def say() -> None:
        done = bar.tasks[task].completed
        console.print(f"{what}: {done:.0f} of {total} {unit}{time_left(began, done, total)}")

    lines = not (sys.stdout.isatty() and total)  # whatever the environment says of colours
    with Progress(TextColumn(what), *columns, TimeRemainingColumn(), console=console, disable=lines) as bar:
        task = bar.add_task(what, total=total)
        with now_and_then(say) if lines else nullcontext():
            yield partial(bar.advance, task)
