r"""The ratios on the page of speed are those of the numbers beside them."""

import json

import pytest

from vaelib.study.speed import Machine, SpeedError, between, load_all, row


@pytest.fixture
def machine():
    """A machine whose numbers can be divided in the head."""
    course = {"seconds": [10.0, 20.0], "elbo": [-120.0, -110.0]}
    return Machine(
        "slow",
        {
            "images_per_second": {"this book": 600, "tutorial": 200, "pythae": 400},
            "products_alone": {"128": 1200},
            "tutorial": course,
            "ours": {"seconds": [1.0, 2.0, 4.0], "elbo": [-130.0, -110.0, -105.0]},
            "ours_as_tutorial": {"seconds": [2.0, 5.0], "elbo": [-121.0, -111.0]},
            "processes": {"one process": 3.0, "two processes": 2.0},
            "scaling": {
                "simple-d20": {
                    "images": {"1000": 4.0, "60000": 5.0},
                    "batch": {"32": 8.0, "128": 4.0},
                    "latent dimension": {"20": 4.0},
                    "width": {"800": 9.0},
                }
            },
        },
    )


def test_ratios_are_above_one_where_this_book_is_faster(machine):
    assert (machine.over("tutorial"), machine.over("pythae")) == (3.0, 1.5)
    assert (machine.as_tutorial, machine.two_processes, machine.many_over_few) == (4.0, 1.5, 1.25)


def test_the_mark_is_reached_at_the_first_epoch_that_is_no_lower(machine):
    assert machine.mark == -110.0
    assert machine.arrival == 20.0 / 2.0


def test_a_mark_that_is_not_reached_has_no_time(machine):
    machine.measured["ours"]["elbo"] = [-130.0, -120.0, -111.0]
    assert machine.arrival == 0


def test_sizes_are_multiples_of_the_usual_one(machine):
    sizes = machine.sizes("simple-d20")
    assert sizes["batch, slow"] == ([0.25, 1.0], [[8.0, 4.0]])
    assert sizes["width, slow"] == ([2.0], [[9.0]])


def test_a_range_names_the_ends_once_if_they_read_the_same(machine):
    fast = Machine("fast", {"processes": {"one process": 3.0, "two processes": 1.0}})
    assert between(lambda m: m.two_processes, [fast, machine], form=".1f") == "1.5 to 3.0"
    assert between(lambda m: m.two_processes, [machine, machine], form=".1f") == "1.5"
    assert row("ratio", lambda m: m.two_processes, [fast, machine], form=".2f") == ["ratio", "3.00", "1.50"]


def test_machines_are_read_by_the_names_of_their_files(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"images": len(name)}), encoding="utf-8")
    assert load_all(tmp_path) == [Machine("a", {"images": 1}), Machine("b", {"images": 1})]


def test_an_empty_folder_is_named_with_the_command_that_fills_it(tmp_path):
    with pytest.raises(SpeedError, match=f"{tmp_path.name} holds no measured speeds.*make bench"):
        load_all(tmp_path)
