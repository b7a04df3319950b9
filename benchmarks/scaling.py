r"""What a training step costs against the number of images, the latent dimension and the width; and peak memory."""

import subprocess
import sys
import time
from dataclasses import replace

import torch
from joblib import Parallel, delayed

from vaelib import data
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.study.models import find_vae
from vaelib.training import fit

IMAGES, LATENT_DIMS, WIDTHS, BATCHES = (
    (1_000, 4_000, 16_000, 60_000),
    (2, 20, 100, 400),
    (100, 400, 1_600),
    (32, 128, 512),
)
TURNS = 5


def seconds_per_epoch(experiment: VaeExperiment, images: data.Images) -> float:
    """The fastest of a few epochs."""
    with seeded(0):
        vae, best = experiment.build(images.shape), float("inf")
        for _ in range(TURNS):
            started = time.perf_counter()
            for _ in fit(
                vae, lambda x: experiment.loss(vae, x), [images.images], epochs=1, batch_size=experiment.batch_size
            ):
                pass
            best = min(best, time.perf_counter() - started)
    return best


def against(name: str) -> dict[str, dict[str, float]]:
    """Microseconds per image of one model against each of four sizes, one thread, the others at their usual values."""
    torch.set_num_threads(1)
    model = find_vae(name, "full")
    some = data.load("quick").train
    many = some[torch.arange(IMAGES[-1]) % len(some)]

    def cost(experiment: VaeExperiment, images: data.Images) -> float:
        return 1e6 * seconds_per_epoch(experiment, images) / len(images)

    return {
        "images": {f"{n}": cost(model, many[:n]) for n in IMAGES},
        "latent dimension": {f"{d}": cost(replace(model, latent_dim=d), some) for d in LATENT_DIMS},
        "width": {f"{w}": cost(replace(model, hidden=w), some) for w in WIDTHS},
        "batch": {f"{b}": cost(replace(model, batch_size=b), some) for b in BATCHES},
    }


def steps(name: str, threads: int) -> None:
    """One epoch of a model on the quick profile."""
    torch.set_num_threads(threads)
    experiment, images = find_vae(name), data.load("quick").train
    with seeded(0):
        vae = experiment.build(images.shape)
        for _ in fit(vae, lambda x: experiment.loss(vae, x), [images.images], epochs=1):
            pass


def processes(names: tuple[str, ...]) -> dict[str, float]:
    """Seconds for one epoch of each model: one process with two threads, and two processes with one thread each.

    Give the costly models first, so that no process is left alone with one at the end.
    """
    seconds = {}
    for label, jobs, threads in (("one process", 1, 2), ("two processes", 2, 1)):
        with Parallel(n_jobs=jobs, batch_size=1, pre_dispatch=jobs) as parallel:
            parallel(delayed(steps)(name, threads) for name in names[:2])  # warm
            turns = []
            for _ in range(3):
                started = time.perf_counter()
                parallel(delayed(steps)(name, threads) for name in names)
                turns.append(time.perf_counter() - started)
            seconds[label] = min(turns)
    return seconds


def peak_megabytes(name: str, profile: str) -> float:
    """Peak resident memory (Linux) of a process that loads a profile and trains a model for one epoch."""
    code = (
        "import re, torch; torch.set_num_threads(1)\n"
        "from dataclasses import replace\nfrom vaelib import data\nfrom vaelib.study.experiment import train\n"
        "from vaelib.study.models import find_vae\n"
        f"train(replace(find_vae({name!r}, {profile!r}), epochs=1), data.load({profile!r}))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(said.split()[-1]) / 1024
