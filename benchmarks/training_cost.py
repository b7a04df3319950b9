r"""What one training step of each kind of model costs, measured side by side in one run.

One process, one thread. The models take turns, a few steps each, many times over; of each the fastest turn counts, so
that a busy moment of the machine falls on none of them alone.
"""

import time

import torch

from vaelib import data
from vaelib.seeding import seeded
from vaelib.study.models import RADII, find_vae, structured_name
from vaelib.training import fit

TURNS, STEPS, BATCH = 12, 8, 128
NAMES = (
    "simple-d20",
    "shared-sigma-d20",
    "calibrated-d20",
    "calibrated-mixture-d20",
    "calibrated-flow-d20",
    *(structured_name(radius) for radius in RADII),
    "low-rank-d20",
    "discretised-normal-d20",
    "discretised-logistic-d20",
    "neighbourhood-d20",
)


def microseconds_per_image() -> dict[str, float]:
    """The fastest turn of each model."""
    torch.set_num_threads(1)
    images = data.load("quick").train[: STEPS * BATCH]
    models = {name: find_vae(name) for name in NAMES}
    with seeded(0):
        built = {name: model.build(images.shape) for name, model in models.items()}
        best = dict.fromkeys(NAMES, float("inf"))
        for _ in range(TURNS):
            for name in NAMES:
                steps = fit(built[name], lambda x, n=name: models[n].loss(built[n], x), [images.images], epochs=1)
                started = time.perf_counter()
                for _ in steps:
                    pass
                best[name] = min(best[name], (time.perf_counter() - started) / len(images))
    return {name: 1e6 * seconds for name, seconds in best.items()}
