r"""The command line: train and list the models of the chapter, measure its claims, run its notebooks."""

import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from typer.core import TyperGroup

from vaelib.errors import MendableError

if TYPE_CHECKING:  # torch is imported by the commands that need it
    from vaelib.study.experiment import Experiment

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

INTERRUPTED = 130
#: The seeds after that of a build must be seeds of torch too, which are below 2^64.
MAX_SEED = 2**63 - 1
#: More in one list are a slip of the pen.
MAX_SEEDS = 10_000
#: Seconds between two lines that say how far a work is, where there is no terminal to draw a bar on.
PATIENCE = 20.0


class Profile(StrEnum):
    """The names of `vaelib.data.PROFILES`, as the command line completes them."""

    quick = "quick"
    full = "full"
    fashion = "fashion"


class PlainErrors(TyperGroup):
    """Commands whose errors, those that a user can mend, are one message and exit code 1; Ctrl-C is 130."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command, but not in an environment that was copied and runs the library of another folder."""
        environment = Path(sys.argv[0]).absolute().parent.parent
        try:
            if (environment / "pyvenv.cfg").is_file() and not environment.samefile(sys.prefix):
                raise MendableError(f"{environment} is a copy and runs the library of {sys.prefix}; run: make env")
            return super().invoke(ctx)
        except KeyboardInterrupt:
            errors.print("Interrupted. Finished models are kept; run the same command again to go on.")
            raise typer.Exit(INTERRUPTED) from None
        except MendableError as error:
            errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=PlainErrors, help="Models and claims of the chapter.", no_args_is_help=True, pretty_exceptions_enable=False
)
notebook_app = typer.Typer(help="Execute the book's notebooks (needs the extra `book`).", no_args_is_help=True)
app.add_typer(notebook_app, name="notebook")


def _choose_cache(folder: Path | None) -> None:
    """For this process and all that it starts."""
    if folder:
        os.environ["VAELIB_CACHE"] = str(folder.expanduser().resolve())


ProfileOption = Annotated[
    Profile, typer.Option(help="quick: 5,000 digits; full: all 70,000; fashion: 70,000 pictures of clothes.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, help="Seed of the build; claims also use the seeds after it.")
]
SeedsOption = Annotated[str, typer.Option(help="Seeds, such as 0-19 or 0,3,7-9.")]
NamesArgument = Annotated[list[str] | None, typer.Argument(help="Models, see `vaelib list`; default: all.")]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Processes, one thread each; default: the cores.")]
DeviceOption = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")]
CacheOption = Annotated[
    Path | None,
    typer.Option(callback=_choose_cache, help="Folder of the cache; default VAELIB_CACHE, else the checkout."),
]
TimeoutOption = Annotated[int, typer.Option(min=1, help="Seconds that one cell may take.")]
FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]
FolderArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False)]


@app.command()
def train(
    names: NamesArgument = None,
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    device: DeviceOption = "cpu",
    retrain: Annotated[bool, typer.Option(help="Train again what is in the cache.")] = False,
    cache: CacheOption = None,
) -> None:
    """Train and measure models that are not in the cache yet; by default all that the book needs."""
    from vaelib.study import claims, comparison, models
    from vaelib.study.trained import key
    from vaelib.training import NonFiniteLossError

    _check_device(device)
    experiments = [models.find(name, profile, seed=seed) for name in names or ()]
    experiments = experiments or models.behind_the_book(profile, seed=seed)
    failed = _make(experiments, jobs=jobs, device=device, retrain=retrain)
    if any(key(e) in failed for e in experiments if names or e.seed == seed):
        raise NonFiniteLossError(f"{len(failed)} of {len(experiments)} models failed, the others are kept; see above")
    if not names:  # tables and claims leave out a model under a later seed that cannot be trained, and say so
        pieces = claims.pieces(profile, models.claim_seeds(profile, seed))
        _measure([*comparison.pieces(profile, seed), *pieces], jobs=jobs)


@app.command()
def sweep(
    names: NamesArgument = None,
    seeds: SeedsOption = "0",
    profile: ProfileOption = Profile.quick,
    jobs: JobsOption = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler, tcp://HOST:8786; default: this machine.")
    ] = None,
    device: DeviceOption = "cpu",
    cache: CacheOption = None,
) -> None:
    """Train and measure models under many seeds, here or on a cluster whose machines share the cache.

    Whatever was finished is found in the cache, so that a sweep that was stopped goes on where it was.
    """
    from vaelib.study import models
    from vaelib.study.comparison import spread
    from vaelib.study.experiment import VaeExperiment
    from vaelib.study.measures import measured, summary
    from vaelib.study.trained import key

    if not scheduler:
        _check_device(device)
    chosen = _seeds(seeds)
    runs = {name: [models.find(name, profile, seed=s) for s in chosen] for name in names or models.experiments(profile)}
    unique = {key(e): e for of_one in runs.values() for e in of_one}  # the classifier has one seed
    failed = _make(list(unique.values()), jobs=jobs, scheduler=scheduler, device=device)
    shown = {"test MSE": "mse", "KL, nats": "kl_nats", "active units": "active_units"}
    shown |= {"Fréchet, ancestral": "frechet_ancestral"}
    table = Table(Column("name", no_wrap=True), "seeds", *shown)
    for name, of_one in runs.items():
        vaes = [e for e in of_one if isinstance(e, VaeExperiment) and key(e) not in failed]
        if rows := [measured(summary, e) for e in vaes]:
            forms = zip(shown.values(), ("{:.4f}", "{:.1f}", "{:.1f}", "{:.1f}"), strict=True)
            table.add_row(name, str(len(rows)), *(spread([row[field] for row in rows], form) for field, form in forms))
    console.print(table)
    if failed:
        raise typer.Exit(1)


@app.command()
def claims(
    output: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    seeds: SeedsOption = "0-4",
    profile: ProfileOption = Profile.full,
    jobs: JobsOption = None,
    cache: CacheOption = None,
) -> None:
    """Measure every claim under these seeds and write values, verdicts and origin: the book's reference results.

    What the file already holds under some of the seeds is kept, if nothing that it depends on has changed.
    """
    from vaelib.build import provenance
    from vaelib.study import claims, reference, verdicts

    chosen = _seeds(seeds)
    began = reference.origin(profile, chosen, commit=provenance.commit())
    before = reference.kept(output, profile, chosen)
    missing = [seed for seed in chosen if not before or seed not in before.origin["seeds"]]
    if missing:
        _make(reference.models(profile, missing), jobs=jobs)
        _measure(claims.pieces(profile, missing), jobs=jobs)
        new = [verdicts.evaluate(claim, profile, seeds=missing) for claim in claims.CLAIMS]
        records = reference.together([before.records, new] if before else [new], chosen)
        reference.save(records, output, began=began, before=before)
    console.print(f"{len(claims.CLAIMS)} claims, seeds {', '.join(map(str, missing)) or 'none'} added: {output}")


@app.command("list")
def list_models(profile: ProfileOption = Profile.quick, seed: SeedOption = 0, cache: CacheOption = None) -> None:
    """All models by name, and whether they are in the cache."""
    from vaelib.study.models import experiments
    from vaelib.study.trained import entry, key

    table = Table(Column("name", no_wrap=True), "purpose", Column("key", no_wrap=True), "cached")
    for model in experiments(profile, seed=seed).values():
        table.add_row(model.name, model.purpose, key(model), "yes" if entry(model).exists() else "no")
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model, see `vaelib list`.")],
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    cache: CacheOption = None,
) -> None:
    """The configuration of a model, where it is kept, and, once it is trained, its record, as JSON."""
    from vaelib.study.models import find
    from vaelib.study.trained import entry, key

    model = find(name, profile, seed=seed)
    place = entry(model)
    record = place.read()[0] if place.exists() else {"config": model.config(), "trained": False}
    console.print_json(json.dumps({"name": name, "key": key(model), "file": str(place.file), **record}))


@app.command()
def report(
    output: Annotated[Path, typer.Option(help="Folder for the generated Markdown.")],
    results: Annotated[Path, typer.Option(help="Folder of the reference results.")] = Path("book/results"),
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    cache: CacheOption = None,
) -> None:
    """Write what the build says of itself: data, verdicts on the claims, models, and how all of it was computed.

    The executed notebooks are looked for in the folder above `output`.
    """
    from vaelib.build import pages

    pages.write(output, profile=profile, seed=seed, results=results)


@notebook_app.command("run")
def run_notebook(
    source: FileArgument,
    target: Annotated[Path, typer.Argument(help="Where the executed notebook goes.")],
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    timeout: TimeoutOption = 3600,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter by name; overrides the options."),
    ] = None,
) -> None:
    """Execute a notebook under a profile and a seed, or with any parameter that its cell of parameters sets."""
    from vaelib.build import notebooks

    given = {name: notebooks.typed(text) for name, text in _assignments(parameter or []).items()}
    parameters = {"profile": str(profile), "seed": seed, **given}
    notebooks.check_parameters(source, parameters)
    if parameters["profile"] not in Profile or not 0 <= parameters["seed"] <= MAX_SEED:
        raise typer.BadParameter(f"profile is one of {', '.join(Profile)}, seed a number from 0 to {MAX_SEED}")
    if not notebooks.run(source, target, parameters=parameters, timeout=timeout):
        console.print(f"{target} is up to date")


@notebook_app.command("run-all")
def run_notebooks(
    book: FolderArgument,
    target: Annotated[Path, typer.Argument(help="Where the copy with the executed notebooks goes.")],
    toc: Annotated[Path, typer.Option(help="Names the pages of the book.")] = Path("_toc.yml"),
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    timeout: TimeoutOption = 3600,
    jobs: JobsOption = None,
) -> None:
    """Copy the book and execute those of its notebooks that are out of date, side by side."""
    from vaelib.build import notebooks

    parameters = {"profile": str(profile), "seed": seed}
    failed = False
    for done in notebooks.run_all(book, target, toc=toc, parameters=parameters, timeout=timeout, jobs=jobs):
        failed |= bool(done.error)
        console.print(f"{done.name}: {done.said}", highlight=False)
        if done.error:
            errors.print(f"[bold red]Error:[/] {escape(done.error)}", highlight=False)
    if failed:
        raise typer.Exit(1)


@notebook_app.command("store")
def store_notebook(source: FileArgument, executed: FileArgument) -> None:
    """Write the outputs of an executed notebook into its committed source."""
    from vaelib.build.notebooks import store

    if store(source, executed):
        console.print(f"stored the outputs of {source}")


@notebook_app.command("install-cell")
def write_install_cells(
    notebooks: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    project: Annotated[Path, typer.Option(help="Names the repository, if there is one.")] = Path("pyproject.toml"),
) -> None:
    """Write the cell that installs the library on Binder and Colab into committed notebooks."""
    from vaelib.build.notebooks import write_install_cell

    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository")
    for notebook in notebooks:
        if write_install_cell(notebook, declared):
            console.print(f"wrote the first code cell of {notebook}")


@notebook_app.command("picture")
def save_picture(
    notebook: FileArgument,
    figure: Annotated[str, typer.Argument(help="The name in the metadata of its cell.")],
    target: Annotated[Path, typer.Argument(help="The PNG file to write.")],
) -> None:
    """Save one figure of an executed notebook as a file."""
    from vaelib.build.notebooks import picture

    target.write_bytes(picture(notebook, figure))


def _make(
    experiments: "Sequence[Experiment]",
    *,
    jobs: int | None,
    scheduler: str | None = None,
    device: str = "cpu",
    retrain: bool = False,
) -> set[str]:
    """Train and measure, with a word on each model; the keys of those that failed."""
    from vaelib.build.jobs import default_jobs, run_all
    from vaelib.study.trained import entry, key

    missing = {key(e): e.epochs for e in experiments if retrain or not entry(e).exists()}
    workers = jobs or default_jobs(len(experiments))
    where = f"on {scheduler}" if scheduler else f"in {workers} {'process' if workers == 1 else 'processes'}"
    console.print(
        f"{len(experiments)} models ({experiments[0].profile} profile): {len(experiments) - len(missing)} in the "
        f"cache, {len(missing)} to train {where}"
    )
    failed = set()
    with _progress("training", sum(missing.values()), "epochs") as advance:
        for done in run_all(experiments, jobs=workers, scheduler=scheduler, device=device, retrain=retrain):
            for line in done.lines:
                if not line.endswith("loaded"):
                    console.print(line, highlight=False)
            if done.error:
                failed.add(key(done.experiment))
                console.print(f"[bold red]Failed:[/] {escape(done.error)}", highlight=False)
            advance(missing.get(key(done.experiment), 0))
    return failed


def _measure(pieces: Sequence[Callable[[], object]], *, jobs: int | None) -> None:
    from vaelib.build.jobs import side_by_side

    with _progress("measuring", len(pieces), "pieces") as advance:
        for _ in side_by_side(pieces, jobs=jobs):
            advance(1)


@contextmanager
def _progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar with an estimate of the time left; a line now and then where there is no terminal, as in a log."""
    columns = BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(), TimeRemainingColumn()
    began = said = time.monotonic()
    with Progress(TextColumn(what), *columns, console=console, disable=not console.is_terminal) as bar:
        task, done = bar.add_task(what, total=total), 0

        def advance(steps: int) -> None:
            nonlocal done, said
            done += steps
            bar.advance(task, steps)
            if bar.disable and done and (now := time.monotonic()) - said > PATIENCE:
                left = (now - began) * (total - done) / done
                console.print(f"{what}: {done} of {total} {unit}, about {left / 60:.0f} min left", highlight=False)
                said = now

        yield advance


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise typer.BadParameter(f"device {device!r} cannot be used here ({reason}); try cpu") from None


def _seeds(text: str) -> list[int]:
    """Seeds from a text such as 0-19 or 0,3,7-9."""
    found = [re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip()) for part in text.split(",")]
    ranges = [range(int(ends[1]), int(ends[2] or ends[1]) + 1) for ends in found if ends]
    seeds = [seed for few in ranges for seed in few[: MAX_SEEDS + 1]]
    if None in found or not 0 < len(set(seeds)) == len(seeds) <= MAX_SEEDS:
        raise typer.BadParameter(f"{text!r} is no list of seeds such as 0-19 or 0,3,7-9")
    return seeds


def _assignments(texts: Sequence[str]) -> dict[str, str]:
    """Names and values from texts such as seed=1; the last of a name counts."""
    found = {text: re.fullmatch(r"(\w+)=(.*)", text) for text in texts}
    if wrong := [text for text, parts in found.items() if not parts]:
        raise typer.BadParameter(f"{wrong[0]!r} sets no parameter, as seed=1 does")
    return {parts[1]: parts[2] for parts in found.values() if parts}
