r"""The stored measurements of speed belong to the code beside them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Where the benchmarks find each other."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


STORED = sorted((ROOT / "book" / "results" / "speed").glob("*.json"))


@pytest.fixture(params=STORED, ids=lambda path: path.stem)
def speed(request):
    """What `make bench` stored of one machine."""
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_some_machine_was_measured():
    assert STORED


def test_the_stored_speeds_are_those_of_this_code(speed):
    from origin import origin

    assert speed["origin"] == origin(), "out of date: run make bench on that machine, or remove the file"


def test_the_share_of_the_matrix_products_is_that_of_the_stored_rates(speed):
    from loops import OPERATIONS

    share = OPERATIONS * speed["images_per_second"]["this book, batch 512"] / speed["matmul_per_second"]["2"]
    assert speed["share_of_matmul"] == pytest.approx(share)
    assert speed["images_per_second"]["this book"] < speed["products_alone"]["128"]


def test_the_operations_of_a_step_are_those_that_torch_counts():
    import torch
    from loops import LAYERS, OPERATIONS
    from origin import LOOP_MODEL
    from torch.utils.flop_counter import FlopCounterMode

    from vaelib.study.models import find_vae

    experiment = find_vae(LOOP_MODEL)
    vae, x = experiment.build((28, 28)), torch.rand(3, 784)
    with FlopCounterMode(display=False) as counter:
        experiment.loss(vae, x).sum().backward()
    assert counter.get_total_flops() == len(x) * OPERATIONS
    assert sum(i * o for i, o in LAYERS) == sum(w.numel() for w in vae.parameters() if w.ndim == 2)
