r"""The command line: train the models of the chapter, list them, show one."""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from vaelib.errors import MendableError

if TYPE_CHECKING:  # torch is imported by the commands that need it
    from vaelib.study.experiment import Experiment

app = typer.Typer(
    help="Models and claims of the chapter.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
notebook_app = typer.Typer(help="Execute the book's notebooks (needs the extra `book`).", no_args_is_help=True)
app.add_typer(notebook_app, name="notebook")
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

INTERRUPTED = 130


class Profile(StrEnum):
    """The names of `vaelib.data.PROFILES`, as the command line completes them."""

    quick = "quick"
    full = "full"
    fashion = "fashion"


ProfileOption = Annotated[
    Profile, typer.Option(help="quick: 5,000 digits; full: all 70,000; fashion: 70,000 pictures of clothes.")
]
SeedOption = Annotated[
    int,
    typer.Option(min=0, help="Seed of the build; claims also use the seeds after it."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the cache; default VAELIB_CACHE, else the checkout."),
]


@contextmanager
def _plain_errors(command: str) -> Iterator[None]:
    """The errors that a user can mend, as one message and exit code 1; Ctrl-C as 130."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print("Interrupted. Finished models are kept; run the same command again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    except MendableError as error:
        errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None


NamesArgument = Annotated[list[str] | None, typer.Argument(help="Models, see `vaelib list`; default: all.")]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Processes, one thread each; default: the cores.")]
DeviceOption = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")]


def _seeds(text: str) -> list[int]:
    """Seeds from a text such as 0-19 or 0,3,7-9."""
    ranges = [re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip()) for part in text.split(",")]
    seeds = [seed for found in ranges if found for seed in range(int(found[1]), int(found[2] or found[1]) + 1)]
    if None in ranges or not seeds or len(set(seeds)) < len(seeds):
        raise typer.BadParameter(f"{text!r} is no list of seeds such as 0-19 or 0,3,7-9")
    return seeds


SeedsOption = Annotated[str, typer.Option(help="Seeds, such as 0-19 or 0,3,7-9.")]


def _assignments(texts: Sequence[str]) -> dict[str, str]:
    """Names and values from texts such as seed=1; the last of a name counts."""
    found = {text: re.fullmatch(r"(\w+)=(.*)", text) for text in texts}
    if wrong := [text for text, parts in found.items() if not parts]:
        raise typer.BadParameter(f"{wrong[0]!r} sets no parameter, as seed=1 does")
    return {parts[1]: parts[2] for parts in found.values() if parts}


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
    with _plain_errors("train"):
        from vaelib.build.jobs import measure_book
        from vaelib.study import models as catalogue
        from vaelib.training import NonFiniteLossError

        _check_device(device)
        experiments = (
            [catalogue.find(name, profile, seed=seed) for name in names]
            if names
            else catalogue.behind_the_book(profile, seed=seed)
        )
        failed = _make(experiments, jobs=jobs, device=device, retrain=retrain, cache=cache)
        if any(e.key in failed for e in experiments if names or e.seed == seed):
            raise NonFiniteLossError(
                f"{len(failed)} of {len(experiments)} models failed, the others are kept; see above"
            )
        if not names:  # tables and claims leave out a model under a later seed that cannot be trained, and say so
            with console.status("measuring the claims"):
                measure_book(profile, seed=seed, jobs=jobs, cache=cache)


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
    with _plain_errors("sweep"):
        from vaelib.study import models as catalogue
        from vaelib.study.comparison import spread
        from vaelib.study.experiment import VaeExperiment
        from vaelib.study.measurements import panel

        if not scheduler:
            _check_device(device)
        known = catalogue.experiments(profile)
        chosen = [catalogue.find(name, profile).name for name in names or known]
        repeats = {name: [catalogue.find(name, profile, seed=seed) for seed in _seeds(seeds)] for name in chosen}
        unique = {e.key: e for runs in repeats.values() for e in runs}  # the classifier has one seed
        failed = _make(list(unique.values()), jobs=jobs, scheduler=scheduler, device=device, cache=cache)
        table = Table(
            Column("name", no_wrap=True), "seeds", "test MSE", "KL, nats", "active units", "Fréchet, ancestral"
        )
        for name, runs in repeats.items():
            panels = [panel(e, cache=cache) for e in runs if isinstance(e, VaeExperiment) and e.key not in failed]
            if panels:
                values = zip(*((p.mse, p.kl_nats, p.active_units, p.frechet_ancestral) for p in panels), strict=True)
                forms = ("{:.4f}", "{:.1f}", "{:.1f}", "{:.1f}")
                cells = [spread(value, form) for value, form in zip(values, forms, strict=True)]
                table.add_row(name, str(len(panels)), *cells)
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
    with _plain_errors("claims"):
        from vaelib.build.jobs import measure_claims
        from vaelib.study import claims as hypotheses
        from vaelib.study import reference as published
        from vaelib.study import verdicts as claims

        chosen = _seeds(seeds)
        began, before = published.origin(profile, chosen), published.kept(output, profile, chosen)
        missing = [seed for seed in chosen if not before or seed not in before.origin["seeds"]]
        parts = [before.records] if before else []
        if missing:
            _make(published.models(profile, missing), jobs=jobs, cache=cache)
            with console.status("measuring the claims"):
                measure_claims(profile, seeds=missing, jobs=jobs, cache=cache)
            parts.append([claims.evaluate(c, profile, seeds=missing, cache=cache) for c in hypotheses.CLAIMS])
            records = published.together(parts, chosen)
            published.save(records, output, began=began, before=before, cache=cache)
        console.print(
            f"{len(hypotheses.CLAIMS)} claims, seeds {', '.join(map(str, missing)) or 'none'} added: {output}"
        )


def _make(
    experiments: "Sequence[Experiment]",
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
    retrain: bool = False,
    cache: Path | None = None,
) -> set[str]:
    """Train and measure, with a word on each model and a bar; the keys of those that failed."""
    from vaelib.build.jobs import default_jobs, run_all
    from vaelib.study.trained import entry

    missing = [e for e in experiments if retrain or not entry(e, cache=cache).exists()]
    workers = jobs or default_jobs(len(experiments))
    where = f"on {scheduler}" if scheduler else f"in {workers} {'process' if workers == 1 else 'processes'}"
    profile = experiments[0].profile
    console.print(
        f"{len(experiments)} models ({profile} profile): {len(experiments) - len(missing)} in the cache, "
        f"{len(missing)} to train {where}"
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    failed: set[str] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=sum(e.epochs for e in missing))
        for done in run_all(
            experiments,
            jobs=workers,
            scheduler=scheduler,
            cache=cache,
            device=device,
            retrain=retrain,
            on_epoch=lambda: progress.advance(task),
        ):
            for line in done.lines:
                if not line.endswith("loaded"):
                    progress.console.print(line, highlight=False)
            if done.error:
                failed.add(done.experiment.key)
                progress.console.print(f"[bold red]Failed:[/] {escape(done.error)}", highlight=False)
            if scheduler and done.experiment in missing:  # epochs are not announced by a cluster
                progress.advance(task, done.experiment.epochs)
    return failed


@app.command("list")
def list_models(
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    cache: CacheOption = None,
) -> None:
    """All models by name, and whether they are in the cache."""
    from vaelib.study import models as catalogue
    from vaelib.study.trained import entry

    table = Table(Column("name", no_wrap=True), "purpose", Column("key", no_wrap=True), "cached")
    for experiment in catalogue.experiments(profile, seed=seed).values():
        cached = "yes" if entry(experiment, cache=cache).exists() else "no"
        table.add_row(experiment.name, experiment.purpose, experiment.key, cached)
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model, see `vaelib list`.")],
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    cache: CacheOption = None,
) -> None:
    """The configuration of a model, where it is kept, and, once it is trained, its record, as JSON."""
    with _plain_errors(f"show {name}"):
        from vaelib.study import models as catalogue
        from vaelib.study.trained import entry

        experiment = catalogue.find(name, profile, seed=seed)
        place = entry(experiment, cache=cache)
        record = place.read()[0] if place.exists() else {"config": experiment.config(), "trained": False}
        console.print_json(
            json.dumps(
                {
                    "name": name,
                    "key": experiment.key,
                    "file": str(place.weights_file),
                    **record,
                }
            )
        )


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
    with _plain_errors("report"):
        from vaelib import data
        from vaelib.build import configurations
        from vaelib.build.report import computed_markdown
        from vaelib.study import claims as hypotheses
        from vaelib.study import reference as published
        from vaelib.study import verdicts as claims

        output.mkdir(parents=True, exist_ok=True)
        digits = data.load(profile)
        _write(
            output / "data.md",
            f"This build used the **{profile}** profile: {len(digits.train):,} training and {len(digits.test):,} test "
            f"images of {digits.dataset} ({digits.source}; SHA-256 of the pixels `{digits.sha256[:16]}...`), "
            f"seed {seed}.\n",
        )
        records = hypotheses.records(profile, seed=seed, cache=cache)
        references = {name: found.records for name, found in published.load_all(results).items()}
        _write(output / "verdicts.md", claims.verdicts_markdown(records, references) + "\n")
        _write(output / "models.md", configurations.as_markdown(profile, seed=seed, cache=cache) + "\n")
        notebooks = sorted(output.resolve().parent.glob("[!.]*.ipynb"))
        _write(output / "computed.md", computed_markdown(profile, seed=seed, notebooks=notebooks, cache=cache))


@notebook_app.command("run")
def run_notebook(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    target: Annotated[Path, typer.Argument(help="Where the executed notebook goes.")],
    profile: ProfileOption = Profile.quick,
    seed: SeedOption = 0,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that one cell may take.")] = 3600,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter by name; overrides the options."),
    ] = None,
) -> None:
    """Execute a notebook under a profile and a seed, or with any parameter that its cell of parameters sets."""
    with _plain_errors("notebook run"):
        from vaelib.build import notebooks

        given = {name: notebooks.typed(text) for name, text in _assignments(parameter or []).items()}
        notebooks.run(source, target, parameters={"profile": str(profile), "seed": seed, **given}, timeout=timeout)


@notebook_app.command("store")
def store_notebook(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    executed: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Write the outputs of an executed notebook into its committed source."""
    with _plain_errors("notebook store"):
        from vaelib.build import notebooks

        if notebooks.store(source, executed):
            console.print(f"stored the outputs of {source}")


@notebook_app.command("install-cell")
def write_install_cells(
    notebooks: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    project: Annotated[Path, typer.Option(help="Names the repository, if there is one.")] = Path("pyproject.toml"),
) -> None:
    """Write the cell that installs the library on Binder and Colab into committed notebooks."""
    with _plain_errors("notebook install-cell"):
        from vaelib.build.notebooks import write_install_cell

        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository")
        for notebook in notebooks:
            if write_install_cell(notebook, declared):
                console.print(f"wrote the first code cell of {notebook}")


@notebook_app.command("picture")
def save_picture(
    notebook: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    figure: Annotated[str, typer.Argument(help="The name in the metadata of its cell.")],
    target: Annotated[Path, typer.Argument(help="The PNG file to write.")],
) -> None:
    """Save one figure of an executed notebook as a file."""
    with _plain_errors("notebook picture"):
        from vaelib.build import notebooks

        target.write_bytes(notebooks.picture(notebook, figure))


def _write(file: Path, text: str) -> None:
    """Write only what changed, so that nothing downstream is made again without need."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        errors.print(
            f"[bold red]Error:[/] device {device!r} cannot be used here ({escape(reason)}); try cpu",
            highlight=False,
        )
        raise typer.Exit(2) from None
