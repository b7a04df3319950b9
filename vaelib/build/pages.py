r"""What a build says of itself, as Markdown: its data, verdicts and models, and how all of it was computed.

And what of the verdicts is not that of the first edition.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from vaelib import data
from vaelib.build import provenance
from vaelib.study import editions, models, reference, verdicts
from vaelib.study.experiment import Experiment, VaeExperiment
from vaelib.study.findings import quoted
from vaelib.study.trained import config, entry, key

#: The metrics of a record in words, and how their values are written.
METRICS = {
    "test_log_px_z_nats": ("mean $\\ln p(x|z)$", "{:,.1f} nats"),
    "test_kl_nats": ("mean KL", "{:.1f} nats"),
    "test_accuracy": ("accuracy", "{:.1%}"),
    "test_spoiled_known": ("spoiled images that are known as such", "{:.1%}"),
}
#: What the front page says of the stored results: in words, and each number's claim, what it is found by, and its form.
Found = tuple[str, tuple[str, ...], str]
FOUND: dict[str, tuple[Found, ...]] = {
    "squared error of the simple VAE over that of PCA with 10 dimensions; smallest $\\sigma_x$ on grey pixels": (
        ("0.1", ("C02", "grey pixels, floor 0.1;"), "{:.2f}"),
        ("0.0001", ("C02", "grey pixels, floor 0.0001;"), "{:.2f}"),
    ),
    "distance of its mean images from digits over that of its ancestral samples; judges": (
        ("spoiled", ("C07", "simple VAE, d = 20", "spoiled judges"), "{:.2f}"),
        ("clean", ("C07", "simple VAE, d = 20", "clean judges"), "{:.2f}"),
    ),
    "covariance of the pixels, ancestral samples over data; independent pixels": (
        ("simple VAE", ("C20", "simple VAE", "sum"), "{:.2f}"),
        ("calibrated, with a prior that its codes follow", ("C20", "flow as prior"), "{:.2f}"),
    ),
    "nats an image by which the bound is below that of the best weight": (
        ("one $\\sigma_x$, learned", ("C25", "one sigma, learned;", "nats"), "{:.0f}"),
    ),
    "nats an image that another division of the variance costs": (
        ("one $\\sigma_x$, at least", ("C19", "nats that the bound"), "{:.0f}"),
        ("dependent pixels, code kept", ("C19", "nats that the code"), "{:.1f}"),
    ),
}
#: What stands above the models that no build trains.
SWEPT = (
    "Models of the book with one thing changed, a noise, a dimension, a weight, the length of training, and some that "
    "are held against others. They are trained where somebody asks for them: `vaelib sweep 'weighed-*' --seeds 0-2` "
    "trains those whose names fit, and `vaelib show NAME` prints a configuration."
)


def write(folder: Path, *, profile: str, seed: int, results: Path | None = None) -> None:
    """Write every page into a folder, but leave those alone that say the same, so that nothing is built without need.

    `results` holds the reference results, by default those of the book; the executed notebooks are looked for in the
    folder above.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = reference.load_all(results)
    references = {name: stored.records for name, stored in found.items()}
    notebooks = sorted(folder.resolve().parent.glob("[!.]*.ipynb"))
    pages = {
        "data": data_markdown(profile, seed=seed),
        "found": found_markdown(references.get("full", [])),
        "verdicts": verdicts.verdicts_markdown(verdicts.records(profile, seed=seed), references),
        "what_changed": editions.changes_markdown(editions.changes(editions.first_edition(results), found)),
        "models": models_markdown(profile, seed=seed),
        "computed": computed_markdown(profile, seed=seed, notebooks=notebooks),
    }
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != f"{text}\n":
            file.write_text(f"{text}\n", encoding="utf-8")


def data_markdown(profile: str, *, seed: int) -> str:
    """Which images, from where."""
    images = data.load(profile)
    return (
        f"This build used the **{profile}** profile: {len(images.train):,} training and {len(images.test):,} test "
        f"images of {images.name} ({images.source}; SHA-256 of the pixels `{images.sha256[:16]}...`), seed {seed}."
    )


def found_markdown(records: Sequence[verdicts.ClaimRecord]) -> str:
    """Numbers of the reference results that the front page speaks of, with standard deviations over seeds."""
    rows = [
        (what, "; ".join(f"{label}: {quoted(records, *words, form=form)}" for label, words, form in numbers))
        for what, numbers in FOUND.items()
    ]
    return verdicts.table(rows, "what was measured on all 60,000 digits", "mean ± sd over seeds")


# ---- how it was computed


def computed_markdown(profile: str, *, seed: int, notebooks: Sequence[Path]) -> str:
    """Commit and data, machine, versions, seconds per executed notebook and per model."""
    sections = {
        "What was built": _pairs(origin(profile, seed=seed), "what", "value"),
        "The machine": _pairs(provenance.machine(), "what", "value"),
        "Versions": _pairs(provenance.versions(), "package", "version"),
        "Seconds for each notebook": notebook_seconds(notebooks),
        "Seconds for each model": model_seconds(models.behind_the_book(profile, seed=seed)),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def origin(profile: str, *, seed: int) -> dict[str, str]:
    """Commit, profile, seed and data with checksum."""
    images = data.load(profile)
    sizes = f"{len(images.train):,} training and {len(images.test):,} test images"
    return {
        "commit": provenance.commit_in_words(),
        "profile and seed": f"{profile}, seed {seed}",
        "data": f"{images.name}, {sizes}, read from {images.source}",
        "SHA-256 of " + ("all pixels" if profile == "quick" else "the training images"): f"`{images.sha256}`",
    }


def notebook_seconds(notebooks: Sequence[Path]) -> str:
    """Seconds that papermill noted in each executed notebook, and their sum."""
    seconds = {path: nbformat.read(path, as_version=4).metadata["papermill"]["duration"] for path in notebooks}
    rows = [(f"{{doc}}`{path.stem}`", f"{value:.1f}") for path, value in seconds.items()]
    return verdicts.table([*rows, ("all", f"{sum(seconds.values()):.1f}")], "notebook", "seconds")


def model_seconds(experiments: Sequence[Experiment]) -> str:
    """Seconds of training by name of model: over how many seeds, the sum and the range; failed models are left out."""
    seconds: dict[str, list[float]] = {}
    for experiment in experiments:
        place = entry(experiment)
        if place.exists():
            seconds.setdefault(experiment.name, []).append(place.read()[0]["seconds"])
    rows = {f"`{name}`": values for name, values in seconds.items()} | {
        "all": [value for values in seconds.values() for value in values]
    }
    cells = [(name, str(len(of)), f"{sum(of):.0f}", spread(of)) for name, of in rows.items()]
    return verdicts.table(cells, "model", "seeds", "seconds, sum", "one model")


def spread(seconds: Sequence[float]) -> str:
    """The least and the most of some seconds, to a tenth."""
    ends = dict.fromkeys(f"{end(seconds):.1f}" for end in (min, max)) if seconds else {"-": None}
    return " to ".join(ends)


def _pairs(rows: Mapping[str, str], *headers: str) -> str:
    return verdicts.table(list(rows.items()), *headers)


# ---- the models


def models_markdown(profile: str, *, seed: int) -> str:
    """An entry for every model of the book and a line for each of a sweep, with the labels that figures link to."""
    book = models.of_the_book(profile, seed=seed)
    swept = [model for name, model in models.experiments(profile, seed=seed).items() if name not in book]
    return "\n\n".join([*(_entry(model) for model in book.values()), *_swept(swept)])


def _label(model: Experiment) -> str:
    return f"(model-{model.name})="


def _swept(swept: Sequence[Experiment]) -> Iterator[str]:
    """The models of sweeps: what those are that this build found, and the names of the others."""
    yield "## Models of sweeps\n\n" + SWEPT
    trained = [model for model in swept if entry(model).exists()]
    for model in trained:
        yield f"{_label(model)}\n`{model.name}`: {model.purpose}. {_result(model)}"
    if others := [model for model in swept if model not in trained]:
        names = ", ".join(f"`{model.name}`" for model in others)
        yield "\n".join(map(_label, others)) + f"\nNot in the cache of this build: {names}."


def _result(model: Experiment) -> str:
    if not (place := entry(model)).exists():
        return "Not in the cache of this build, so there are no results; `make models` trains it."
    record = place.read()[0]
    metrics = _metrics(record["metrics"])
    return f"Trained in {record['seconds']:.0f} s on {record['device']}; on the test images {metrics}."


def _entry(model: Experiment) -> str:
    return (
        f"{_label(model)}\n## {model.name}\n\n"
        f"{model.purpose[0].upper()}{model.purpose[1:]}. {'; '.join(_settings(model))}. {_result(model)}\n\n"
        f":::{{dropdown}} Configuration, key `{key(model)}`\n```json\n{json.dumps(config(model), indent=1)}\n```\n:::"
    )


def _settings(model: Experiment) -> Iterator[str]:
    """What sets the model apart, in a few words each."""
    if isinstance(model, VaeExperiment):
        yield f"$d = {model.latent_dim}$"
        yield f"likelihood `{_call(model.head)}`"
        yield f"objective `{_call(model.objective)}`"
        yield f"prior `{_call(model.prior)}`"
        yield "dequantised pixels" if model.dequantised else "grey pixels"
        if model.digit is not None:
            yield f"the digit {model.digit} alone"
    if model.start:
        yield f"starts from {{ref}}`{model.start.name} <model-{model.start.name}>`"
    rate = f"rate {model.learning_rate:g}" + (", falling to 0" if model.decay else "")
    yield f"{model.epochs} epochs in batches of {model.batch_size}, {rate}"
    yield f"profile {model.profile}, seed {model.seed}"


def _call(function: Any) -> str:
    """A function or class as code, with the arguments that are set."""
    if not isinstance(function, partial):
        return str(function.__name__)
    arguments = [f"{name}={_short(value)}" for name, value in function.keywords.items()]
    return f"{function.func.__name__}({', '.join(arguments)})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value.__name__ if callable(value) else repr(value)


def _metrics(metrics: dict[str, float]) -> str:
    known = ((*METRICS.get(name, (name, "{:.4g}")), value) for name, value in metrics.items())
    return ", ".join(f"{words} {form.format(value)}" for words, form, value in known)
