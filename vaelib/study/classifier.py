r"""The judge of samples: a small classifier of digits that also learns to know a digit from a spoiled one.

Features that were learned from clean digits alone hardly see noise: convolutions average it away, and blank or mean
images fall among the digits. A judge of samples must see both, so the classifier has an eleventh class, training
images that were spoiled on purpose. Its features serve the Frechet distance, precision and recall, its ten digit logits
the rate at which reconstructions change their label.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import gaussian_blur

from vaelib.data import Images
from vaelib.study.experiment import WATCHED, Experiment

FEATURES = 64
#: The digits, and the class of what was spoiled.
DIGITS, SPOILED = 10, 10
#: Passes over the images; over a visitor's own as over the few of the quick profile.
EPOCHS = {"quick": 40, "full": 8, "fashion": 8}
#: Judges of samples: with the class of what was spoiled, and without; each trained under these seeds.
JUDGES, JUDGE_SEEDS = ("spoiled", "clean"), (0, 1, 2)


class Classifier(nn.Module):
    """Two strided convolutions, one layer of 64 features, eleven logits: ten digits, and 'spoiled'.

    Raises ValueError for colour images, and for grey ones too small for the convolutions.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        left = [((side - 3) // 2 - 3) // 2 for side in shape]  # of each side after the two convolutions
        if len(shape) != 2 or min(left) < 1:
            raise ValueError(
                f"the classifier judges grey images of at least 13 by 13 pixels, not of the shape {shape}; leave out "
                "the measures that need it"
            )
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, *shape)),
            nn.Conv2d(1, 16, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * math.prod(left), FEATURES),
            nn.ReLU(),
        )
        self.logits = nn.Linear(FEATURES, DIGITS + 1)

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, m]`, cut to [0, 1] as they are when shown, to features `[B, 64]`."""
        return self.body(x.clamp(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, m]` to logits `[B, 11]`."""
        return self.logits(self.features(x))

    def labels(self, x: Tensor) -> Tensor:
        """Images `[B, m]` to the most probable digit `[B]`, spoiled or not."""
        return self(x)[:, :DIGITS].argmax(dim=-1)


def blur(images: Tensor, *, width: float, shape: tuple[int, ...]) -> Tensor:
    """Grey images `[B, m]` of a shape under a Gaussian blur of this standard deviation in pixels."""
    return gaussian_blur(images.reshape(-1, 1, *shape), kernel_size=[9, 9], sigma=[width, width]).flatten(1)


def spoil(images: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    """Each image `[B, m]` in [0, 1] spoiled in one of four ways, by a random amount; draws from the global generator.

    By amounts that a person sees at a glance: independent noise with a standard deviation of 0.3 to 1; blur with a
    width of 1.5 to 3 pixels; a loss of contrast of 60 to 100 %; a mixture with another image of the batch.
    """
    way = torch.randint(4, (len(images), 1), device=images.device)
    amount = torch.rand(len(images), 1, device=images.device)
    width = 1.5 + 1.5 * torch.rand(()).item()
    others = images[torch.randperm(len(images)).to(images.device)]
    noisy = images + (0.3 + 0.7 * amount) * torch.randn_like(images)
    blurred = blur(images, width=width, shape=shape)
    pale = images * 0.4 * amount
    mixed = images + (0.3 + 0.4 * amount) * (others - images)
    return torch.stack((noisy, blurred, pale, mixed))[way[:, 0], torch.arange(len(images))].clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class ClassifierExperiment(Experiment):
    """The classifier, trained on every image twice: as it is under its label, and spoiled under the eleventh."""

    def build(self, shape: tuple[int, ...]) -> Classifier:
        """The untrained classifier."""
        return Classifier(shape)

    def examples(self, images: Images) -> tuple[Tensor, ...]:
        """Images and labels; raises ValueError where there are none from 0 to 9."""
        if images.labels is None or not 0 <= images.labels.min() <= images.labels.max() < DIGITS:
            found = "none" if images.labels is None else f"from {images.labels.min()} to {images.labels.max()}"
            raise ValueError(
                f"the classifier is trained on labels from 0 to {DIGITS - 1}, and those of these images are {found}; "
                "leave out the measures that need it"
            )
        return images.images, images.labels

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Cross-entropy of the clean and the spoiled image, per example."""
        assert isinstance(model, Classifier)
        images, labels = batch
        spoiled = torch.full_like(labels, SPOILED)
        clean_loss = cross_entropy(model(images), labels, reduction="none")
        return clean_loss + cross_entropy(model(spoil(images, shape=model.shape)), spoiled, reduction="none")

    def watch(self, model: nn.Module, train: Images) -> dict[str, float]:
        """Accuracy on the first training images."""
        assert isinstance(model, Classifier)
        images, labels = (part[:WATCHED] for part in self.examples(train))
        return {"train_accuracy": (model.labels(images) == labels).float().mean().item()}

    def metrics(self, model: nn.Module, test: Images) -> dict[str, float]:
        """Accuracy on the digits of the test split, and the share of spoiled ones that are known as such."""
        assert isinstance(model, Classifier)
        images, labels = self.examples(test)
        known = model(spoil(images, shape=model.shape)).argmax(dim=-1) == SPOILED
        return {
            "test_accuracy": (model.labels(images) == labels).double().mean().item(),
            "test_spoiled_known": known.double().mean().item(),
        }


def classifier_experiment(profile: str) -> ClassifierExperiment:
    """The classifier of a profile: one judge for all models, so its seed is always 0."""
    return ClassifierExperiment(
        name="classifier", purpose="the judge of samples", profile=profile, epochs=EPOCHS.get(profile, EPOCHS["quick"])
    )


@dataclass(frozen=True, kw_only=True)
class CleanClassifierExperiment(ClassifierExperiment):
    """The same network, for the same number of passes, without the eleventh class: it never sees a spoiled image."""

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Cross-entropy over the ten digits, per example."""
        assert isinstance(model, Classifier)
        images, labels = batch
        return cross_entropy(model(images)[:, :DIGITS], labels, reduction="none")

    def metrics(self, model: nn.Module, test: Images) -> dict[str, float]:
        """Accuracy on the digits of the test split."""
        assert isinstance(model, Classifier)
        images, labels = self.examples(test)
        return {"test_accuracy": (model.labels(images) == labels).double().mean().item()}


def judge_experiments(profile: str) -> dict[str, list[ClassifierExperiment]]:
    """Two kinds of judges under `JUDGE_SEEDS`; the first of the spoiled ones is that of `classifier_experiment`."""
    spoiled = classifier_experiment(profile)
    clean = CleanClassifierExperiment(
        name="classifier-clean", purpose="a judge that knows no noise", profile=profile, epochs=spoiled.epochs
    )
    return {
        kind: [judge.at(seed=seed) for seed in JUDGE_SEEDS]
        for kind, judge in zip(JUDGES, (spoiled, clean), strict=True)
    }
