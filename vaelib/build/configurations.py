r"""The models of a build as a page: one entry for each, which the lines under the figures link to."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from vaelib.study import models as catalogue
from vaelib.study.experiment import Experiment, VaeExperiment
from vaelib.study.trained import entry

#: The metrics of a record in words, and how their values are written.
METRICS = {
    "test_log_px_z_nats": ("mean $\\ln p(x|z)$", "{:,.1f} nats"),
    "test_kl_nats": ("mean KL", "{:.1f} nats"),
    "test_accuracy": ("accuracy", "{:.1%}"),
    "test_spoiled_known": ("spoiled images that are known as such", "{:.1%}"),
}


def as_markdown(profile: str, *, seed: int, cache: Path | str | None = None) -> str:
    """An entry with the label `model-NAME` for every model of the catalogue, in MyST Markdown."""
    models = catalogue.experiments(profile, seed=seed).values()
    return "\n\n".join(_entry(model, cache) for model in models)


def _entry(model: Experiment, cache: Path | str | None) -> str:
    place = entry(model, cache=cache)
    record = place.read()[0] if place.exists() else None
    result = (
        f"Trained in {record['seconds']:.0f} s on {record['device']}; on the test images {_metrics(record['metrics'])}."
        if record
        else "Not in the cache of this build, so there are no results; `make models` trains it."
    )
    parts = (
        f"(model-{model.name})=\n## {model.name}",
        f"{model.purpose[0].upper()}{model.purpose[1:]}. {'; '.join(_settings(model))}. {result}",
        f":::{{dropdown}} Configuration, key `{model.key}`\n```json\n{json.dumps(model.config(), indent=1)}\n```\n:::",
    )
    return "\n\n".join(parts)


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
