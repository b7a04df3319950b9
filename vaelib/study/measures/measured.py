r"""A measurement is made once, and again when the model or the code that the measure reaches has changed."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaelib.data import Dataset
from vaelib.study.cache import Entry, cache_folder, remembered
from vaelib.study.classifier import Classifier, ClassifierExperiment, classifier_experiment, judge_experiments
from vaelib.study.experiment import VaeExperiment
from vaelib.study.reach import code_digest, digest
from vaelib.study.trained import fetch, images, images_digest, key, named, restored, silently

Cache = Path | str | None
Measure = Callable[..., dict[str, Any]]


def measured(
    measure: Measure, experiment: VaeExperiment, *, cache: Cache = None, **others: VaeExperiment
) -> dict[str, Any]:
    """What `measure` says of a trained model, from the cache or computed; trains the model if it is not there.

    `others` are further models, by the names under which the measure asks for them.
    """

    def compute() -> dict[str, Any]:
        known = _given(experiment, images(experiment.profile))
        known |= {name: fetch(other, cache=cache, report=silently).vae for name, other in others.items()}
        known |= _bench(measure, experiment.profile, cache)
        vae = fetch(experiment, cache=cache, report=silently).vae
        return {"name": experiment.name, "value": measure(vae, **{name: known[name] for name in _needs(measure)})}

    return _remembered(measurement_key(measure, experiment, **others), compute, cache)


def _given(experiment: VaeExperiment, split: Dataset) -> dict[str, Any]:
    """What a measure may ask for of its model's images."""
    train, test = (part.only(experiment.digit) for part in (split.train, split.test))
    return {"experiment": experiment, "train": train, "test": test}


def measurement_key(measure: Measure, experiment: VaeExperiment, **others: VaeExperiment) -> str:
    """Hash of what a measurement depends on: the models, the classifier if it judges, and the code."""
    depends = {
        "measure": named(measure),
        "code": code_digest(measure, _given, restored),
        "model": key(experiment),
        "others": {name: key(other) for name, other in others.items()},
    }
    return digest(depends | _judge(measure, experiment.profile))


def measured_data(measure: Measure, profile: str, *, cache: Cache = None) -> dict[str, Any]:
    """What `measure(train=, test=, ...)` says of the images of a profile, without any VAE."""

    def compute() -> dict[str, Any]:
        split = images(profile)
        return {
            "name": profile,
            "value": measure(train=split.train, test=split.test, **_bench(measure, profile, cache)),
        }

    return _remembered(data_key(measure, profile), compute, cache)


def data_key(measure: Measure, profile: str) -> str:
    """Hash of what a measurement of the images depends on."""
    depends = {"measure": named(measure), "code": code_digest(measure), "data": images_digest(profile)}
    return digest(depends | _judge(measure, profile))


def classifier(profile: str, *, cache: Cache = None) -> Classifier:
    """The fixed classifier of a profile, loaded or trained."""
    return _judging(classifier_experiment(profile), cache)


def judges(profile: str, *, cache: Cache = None) -> dict[str, list[Classifier]]:
    """The judges of a profile by kind, each under several seeds, loaded or trained."""
    return {
        kind: [_judging(experiment, cache) for experiment in experiments]
        for kind, experiments in judge_experiments(profile).items()
    }


def _judging(experiment: ClassifierExperiment, cache: Cache) -> Classifier:
    model = fetch(experiment, cache=cache, report=silently).model
    assert isinstance(model, Classifier)
    return model


def _bench(measure: Measure, profile: str, cache: Cache) -> dict[str, Any]:
    """The classifier, or the judges, if the measure asks for them."""
    known: dict[str, Callable[..., Any]] = {"classifier": classifier, "judges": judges}
    return {name: known[name](profile, cache=cache) for name in known.keys() & set(_needs(measure))}


def _remembered(key: str, compute: Callable[[], dict[str, Any]], cache: Cache) -> dict[str, Any]:
    value: dict[str, Any] = remembered(Entry(cache_folder(cache) / "measurements", key), compute)["value"]
    return value


def _judge(measure: Measure, profile: str) -> dict[str, Any]:
    needs = _needs(measure)
    found: dict[str, Any] = {}
    if "classifier" in needs:
        found["classifier"] = key(classifier_experiment(profile))
    if "judges" in needs:
        found["judges"] = {kind: [key(one) for one in several] for kind, several in judge_experiments(profile).items()}
    return found


def _needs(measure: Measure) -> list[str]:
    """What a measure asks for by name, beside the VAE."""
    return [name for name in inspect.signature(measure).parameters if name != "vae"]
