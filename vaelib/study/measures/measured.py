r"""A measurement is made once, and again when the model or the code that the measure reaches has changed."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vaelib.data import Dataset
from vaelib.study.cache import Entry, cache_folder, remembered
from vaelib.study.classifier import Classifier, classifier_experiment, judge_experiments
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
        if "classifier" in _needs(measure):
            known["classifier"] = classifier(experiment.profile, cache=cache)
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
        judge = {"classifier": classifier(profile, cache=cache)} if "classifier" in _needs(measure) else {}
        return {"name": profile, "value": measure(train=split.train, test=split.test, **judge)}

    return _remembered(data_key(measure, profile), compute, cache)


def data_key(measure: Measure, profile: str) -> str:
    """Hash of what a measurement of the images depends on."""
    depends = {"measure": named(measure), "code": code_digest(measure), "data": images_digest(profile)}
    return digest(depends | _judge(measure, profile))


def classifier(profile: str, *, cache: Cache = None) -> Classifier:
    """The fixed classifier of a profile, loaded or trained."""
    model = fetch(classifier_experiment(profile), cache=cache, report=silently).model
    assert isinstance(model, Classifier)
    return model


def judges(profile: str, *, cache: Cache = None) -> dict[str, list[Classifier]]:
    """All judges of a profile by kind, each under several seeds, loaded or trained."""
    found: dict[str, list[Classifier]] = {}
    for kind, several in judge_experiments(profile).items():
        for experiment in several:
            model = fetch(experiment, cache=cache, report=silently).model
            assert isinstance(model, Classifier)
            found.setdefault(kind, []).append(model)
    return found


def judged_by_all(measure: Measure, experiment: VaeExperiment, *, cache: Cache = None) -> dict[str, Any]:
    """`measured` for a measure that asks for all `judges`."""

    def compute() -> dict[str, Any]:
        known = _given(experiment, images(experiment.profile)) | {"judges": judges(experiment.profile, cache=cache)}
        vae = fetch(experiment, cache=cache, report=silently).vae
        return {"name": experiment.name, "value": measure(vae, **{name: known[name] for name in _needs(measure)})}

    return _remembered(judgement_key(measure, experiment), compute, cache)


def judgement_key(measure: Measure, experiment: VaeExperiment) -> str:
    """Hash of what a measurement by all judges depends on."""
    depends = {
        "measure": named(measure),
        "code": code_digest(measure, _given, restored),
        "model": key(experiment),
        "others": {},
    }
    return digest(depends | _bench(experiment.profile))


def data_judged_by_all(measure: Measure, profile: str, *, cache: Cache = None) -> dict[str, Any]:
    """`measured_data` for a measure that asks for all `judges`."""

    def compute() -> dict[str, Any]:
        split = images(profile)
        value = measure(train=split.train, test=split.test, judges=judges(profile, cache=cache))
        return {"name": profile, "value": value}

    return _remembered(data_judgement_key(measure, profile), compute, cache)


def data_judgement_key(measure: Measure, profile: str) -> str:
    """Hash of what a measurement of the images by all judges depends on."""
    depends = {"measure": named(measure), "code": code_digest(measure), "data": images_digest(profile)}
    return digest(depends | _bench(profile))


class Asked(NamedTuple):
    """A measure, and what it is asked about: a model, or the images of a profile by its name."""

    measure: Measure
    of: VaeExperiment | str

    @property
    def by_all(self) -> bool:
        """Whether it is for all `judges` to say."""
        return "judges" in _needs(self.measure)

    @property
    def key(self) -> str:
        """Hash of all that the answer depends on."""
        if isinstance(self.of, str):
            return (data_judgement_key if self.by_all else data_key)(self.measure, self.of)
        return (judgement_key if self.by_all else measurement_key)(self.measure, self.of)

    def known(self, cache: Cache = None) -> bool:
        """Whether the answer is in the cache."""
        return Entry(cache_folder(cache) / "measurements", self.key).exists()

    def answer(self, cache: Cache = None) -> dict[str, Any]:
        """What the measure says, from the cache or computed."""
        if isinstance(self.of, str):
            return (data_judged_by_all if self.by_all else measured_data)(self.measure, self.of, cache=cache)
        return (judged_by_all if self.by_all else measured)(self.measure, self.of, cache=cache)


def _remembered(key: str, compute: Callable[[], dict[str, Any]], cache: Cache) -> dict[str, Any]:
    value: dict[str, Any] = remembered(Entry(cache_folder(cache) / "measurements", key), compute)["value"]
    return value


def _judge(measure: Measure, profile: str) -> dict[str, str]:
    return {"classifier": key(classifier_experiment(profile))} if "classifier" in _needs(measure) else {}


def _bench(profile: str) -> dict[str, dict[str, list[str]]]:
    return {"judges": {kind: [key(one) for one in several] for kind, several in judge_experiments(profile).items()}}


def _needs(measure: Measure) -> list[str]:
    """What a measure asks for by name, beside the VAE."""
    return [name for name in inspect.signature(measure).parameters if name != "vae"]
