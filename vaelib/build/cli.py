r"""The command line: train and list the models of the chapter, measure its claims, run its notebooks."""

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from typer.core import TyperGroup

from vaelib.build import given
from vaelib.build.attended import console, make, measure, progress
from vaelib.build.processes import end_in_order
from vaelib.errors import MendableError

errors = Console(stderr=True, soft_wrap=True, highlight=False)

INTERRUPTED = 130
#: The seeds after that of a build must be seeds of torch too, which are below 2^64.
MAX_SEED = 2**63 - 1
#: What the table of a sweep shows.
SWEPT = ["mse", "kl_nats", "active_units", "frechet_ancestral"]


class PlainErrors(TyperGroup):
    """Commands whose errors, those that a user can mend, are one message and exit code 1; Ctrl-C is 130."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command, but not in an environment that was copied and runs the library of another folder."""
        end_in_order()
        _bear_any_name()
        environment = Path(sys.argv[0]).absolute().parent.parent
        try:
            if (environment / "pyvenv.cfg").is_file() and not environment.samefile(sys.prefix):
                raise MendableError(f"{environment} is a copy and runs the library of {sys.prefix}; run: make env")
            return super().invoke(ctx)
        except KeyboardInterrupt as ended:
            errors.print("Interrupted. What was finished is kept; run the same command again to go on.")
            raise typer.Exit(getattr(ended, "status", INTERRUPTED)) from None
        except MendableError as error:
            errors.print(f"[bold red]Error:[/] {escape(str(error))}")
            raise typer.Exit(1) from None
        except OSError as error:
            if not error.filename:
                raise  # no file or folder that somebody named
            errors.print(f"[bold red]Error:[/] {escape(str(error.filename))} cannot be used ({error.strerror})")
            raise typer.Exit(1) from None


def _bear_any_name() -> None:
    """Print a name of a file that the terminal's encoding has no letters for, here and in processes, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:backslashreplace"


app = typer.Typer(
    cls=PlainErrors, help="Models and claims of the chapter.", no_args_is_help=True, pretty_exceptions_enable=False
)
notebook_app = typer.Typer(help="Execute the book's notebooks (needs the extra `book`).", no_args_is_help=True)
app.add_typer(notebook_app, name="notebook")


def _choose_cache(folder: Path | None) -> None:
    """For this process and all that it starts."""
    if folder:
        from vaelib.study.cache import cache_folder

        os.environ["VAELIB_CACHE"] = str(cache_folder(folder))


#: The names of `vaelib.data.PROFILES`, as the command line completes them.
Profile = Literal["quick", "full", "fashion"]
Of = Annotated[Profile, typer.Option(help="5,000 digits; all 70,000; 70,000 pictures of clothes.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the build; claims also use those after it.")]
Seeds = Annotated[str, typer.Option(help="Seeds, such as 0-19 or 0,3,7-9.")]
Names = Annotated[list[str] | None, typer.Argument(help="Models, see `vaelib list`, or patterns; default: the book's.")]
All = Annotated[bool, typer.Option("--all", help="Those of sweeps too, which no build trains.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes, one thread each; default: the cores.")]
Device = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")]
Retrain = Annotated[bool, typer.Option(help="Train again what is in the cache.")]
Scheduler = Annotated[str | None, typer.Option(help="A dask scheduler, tcp://HOST:8786; default: this machine.")]
Cache = Annotated[Path | None, typer.Option(callback=_choose_cache, help="Default: VAELIB_CACHE, else the checkout.")]
Timeout = Annotated[int, typer.Option(min=1, help="Seconds that one cell may take.")]
Given = Annotated[list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE; overrides the options.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]
Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)]


@app.command()
def train(
    names: Names = None,
    profile: Of = "quick",
    seed: Seed = 0,
    jobs: Jobs = None,
    device: Device = "cpu",
    retrain: Retrain = False,
    cache: Cache = None,
) -> None:
    """Train and measure models that are not in the cache yet; by default all that the book needs."""
    from vaelib.study import claims, comparison, models
    from vaelib.study.trained import key
    from vaelib.training import NonFiniteLossError

    named = models.chosen(names, profile, seed=seed) if names else []
    experiments = named or models.behind_the_book(profile, seed=seed)
    failed = make(experiments, jobs=jobs, device=device, retrain=retrain)
    if any(key(e) in failed for e in experiments if named or e.seed == seed):
        raise NonFiniteLossError(f"{len(failed)} of {len(experiments)} models failed, the others are kept; see above")
    if not named:  # tables and claims leave out a model under a later seed that cannot be trained, and say so
        pieces = claims.pieces(profile, models.build_seeds(seed))
        measure([*comparison.pieces(profile, seed=seed), *pieces], jobs=jobs)


@app.command()
def sweep(
    names: Names = None,
    seeds: Seeds = "0",
    profile: Of = "quick",
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    cache: Cache = None,
) -> None:
    """Train and measure models under many seeds, here or on a cluster whose machines share the cache.

    Whatever was finished is found in the cache, so that a sweep that was stopped goes on where it was.
    """
    from vaelib.study import models
    from vaelib.study.comparison import frame
    from vaelib.study.experiment import VaeExperiment
    from vaelib.study.measures import summary
    from vaelib.study.trained import key

    chosen = given.seeds(seeds)
    runs = [model for s in chosen for model in models.chosen(names, profile, seed=s)]
    failed = make(list({key(run): run for run in runs}.values()), jobs=jobs, scheduler=scheduler, device=device)
    trained = {run.name for run in runs if isinstance(run, VaeExperiment) and key(run) not in failed}
    if trained:
        values = frame(sorted(trained), profile, chosen, summary).groupby("model")
        spread = values[SWEPT].agg(["mean", "std"])
        spread["seeds", ""] = values.size()
        console.print(spread.to_string(float_format="{:.4g}".format))
    if failed:
        raise typer.Exit(1)


@app.command()
def claims(output: Path, seeds: Seeds = "0-4", profile: Of = "full", jobs: Jobs = None, cache: Cache = None) -> None:
    """Measure every claim under these seeds and write values, verdicts and origin: the book's reference results.

    What the file already holds under some of the seeds is kept, if nothing that it depends on has changed.
    """
    from vaelib.build.provenance import commit
    from vaelib.study import claims, reference

    chosen = given.seeds(seeds)
    given.place(output)
    began, before = reference.origin(profile, chosen, commit=commit()), reference.kept(output, profile, chosen)
    if missing := reference.missing(before, profile, chosen):
        make(list(claims.models(missing).values()), jobs=jobs)
        measure(claims.measurements(missing), jobs=jobs)
    reference.save(reference.completed(before, profile, chosen), output, began=began, before=before)
    console.print(f"{len(claims.CLAIMS)} claims, {len(missing)} measurements of them added: {output}")


@app.command()
def evidence(
    output: Path,
    seeds: Seeds = "0-4",
    profile: Of = "full",
    frames: Annotated[str | None, typer.Option(help="Frames, such as fair,ladder; default: all.")] = None,
    jobs: Jobs = None,
    cache: Cache = None,
) -> None:
    """Measure what section 5.5 shows, frame by frame and seed by seed, and write each with its origin as it is done.

    What the file already holds is kept; measured again is what was asked for and is out of date.
    """
    from vaelib.build.provenance import commit
    from vaelib.study import evidence

    chosen, names = given.seeds(seeds), given.listed(frames, evidence.FRAMES)
    given.place(output)
    said, todo = commit(), evidence.missing(evidence.kept(output, profile), names, chosen)
    for name, seed in todo:
        console.print(f"{name} ({profile} profile, seed {seed})")
        if models := evidence.models(name, profile, seed):
            make(models, jobs=jobs)
        measure(evidence.pieces(name, profile, seed), jobs=jobs)
        evidence.add(evidence.form(name, profile, seed, commit=said), output, profile)
    console.print(f"{len(names)} frames, {len(todo)} parts of them added: {output}")


@app.command("list")
def list_models(everything: All = False, profile: Of = "quick", seed: Seed = 0, cache: Cache = None) -> None:
    """The models of the book by name, and whether they are in the cache."""
    from vaelib.study.models import experiments, of_the_book
    from vaelib.study.trained import entry, key

    table = Table(Column("name", no_wrap=True), "purpose", Column("key", no_wrap=True), "cached")
    known = experiments(profile, seed=seed)
    shown = known if everything else of_the_book(profile, seed=seed)
    for model in shown.values():
        table.add_row(model.name, model.purpose, key(model), "yes" if entry(model).exists() else "no")
    console.print(table)
    if more := len(known) - len(shown):
        console.print(f"{more} more belong to sweeps, which no build trains; with them: vaelib list --all")


@app.command()
def show(name: str, profile: Of = "quick", seed: Seed = 0, cache: Cache = None) -> None:
    """The configuration of a model, where it is kept, and, once it is trained, its record, as JSON."""
    from vaelib.study.models import find
    from vaelib.study.trained import config, entry, key

    model = find(name, profile, seed=seed)
    place = entry(model)
    record = place.read()[0] if place.exists() else {"config": config(model), "trained": False}
    console.print_json(json.dumps({"name": name, "key": key(model), "file": str(place.file), **record}))


@app.command()
def report(
    output: Annotated[Path, typer.Option(help="Folder for the generated Markdown.")],
    results: Annotated[Path | None, typer.Option(help="Reference results; default: the book's.")] = None,
    profile: Of = "quick",
    seed: Seed = 0,
    cache: Cache = None,
) -> None:
    """Write what the build says of itself: data, verdicts on the claims, models, and how all of it was computed.

    The executed notebooks are looked for in the folder above `output`.
    """
    from vaelib.build import pages

    pages.write(output, profile=profile, seed=seed, results=results)


@notebook_app.command("run")
def run_notebooks(
    source: Annotated[Path, typer.Argument(exists=True, help="A notebook, or a folder with a book.")],
    target: Annotated[Path, typer.Argument(help="Where the executed notebook, or a copy of the book, goes.")],
    profile: Of = "quick",
    seed: Seed = 0,
    timeout: Timeout = 3600,
    parameter: Given = None,
    toc: Annotated[Path, typer.Option(help="Names the pages of a book.")] = Path("_toc.yml"),
    jobs: Jobs = None,
) -> None:
    """Execute a notebook, or those of a book side by side, where out of date, with these parameters."""
    from vaelib.build import notebooks
    from vaelib.mnist import provide

    values = {"profile": profile, "seed": seed, **given.assignments(parameter or [])}
    pages = given.pages(source, target, toc=toc)
    old = notebooks.out_of_date(pages, values)
    if old:
        provide(values["profile"])
    console.print(f"{len(pages)} notebooks, {len(pages) - len(old)} up to date")
    failed = 0
    with progress("notebooks", len(old), "executed") as advance:
        for done in notebooks.run_all(old, values, timeout=timeout, jobs=jobs):
            if done.error:
                errors.print(f"[bold red]Error:[/] {escape(done.error)}")
            else:
                console.print(f"{done.source}: {done.seconds:.0f} s")
            failed += bool(done.error)
            advance(1)
    if failed:
        raise notebooks.NotebookError(f"{failed} of {len(old)} notebooks failed, the others are kept; see above")


@notebook_app.command("store")
def store_notebook(source: File, executed: File) -> None:
    """Write the outputs of an executed notebook into its committed source."""
    from vaelib.build.notebooks import store

    given.notebook(source)
    given.notebook(executed)
    if store(source, executed):
        console.print(f"stored the outputs of {source}")


@notebook_app.command("install-cell")
def write_install_cells(notebooks: Files, project: Path = Path("pyproject.toml")) -> None:
    """Write the cell that installs the library on Binder and Colab, from the project's repository."""
    from vaelib.build.notebooks import write_install_cell

    declared = given.repository(project)
    for notebook in notebooks:
        given.with_code(notebook)
        if write_install_cell(notebook, declared):
            console.print(f"wrote the first code cell of {notebook}")


@notebook_app.command("picture")
def save_picture(notebook: File, figure: str, target: Path) -> None:
    """Save the figure of this name in an executed notebook as a PNG file."""
    from vaelib.build.notebooks import picture

    given.notebook(notebook)
    given.place(target)
    target.write_bytes(picture(notebook, figure))
