r"""The table of the audit is well formed, its numbers follow from the recipes, and its counts come out of it."""

import inspect
import re

import pytest

from vaelib import practice
from vaelib.study.audit import (
    AuditError,
    Family,
    Objective,
    Place,
    Samples,
    as_markdown,
    derived_beta,
    implied_deviations,
    load,
    notes_markdown,
    tally,
)

PROGRAMS = load()
WITH_RECIPE = [(program, loss) for program in PROGRAMS for loss in program.objective if loss.recipe]
#: Their variance is a statistic of the data: tests/theory/test_practice.py.
ANALYTIC = {"batch_log_error", "image_log_error"}

VALID = """
[[program]]
id = "1"
in_tally = true
project = "owner/repository"
commit = "0123456789abcdef0123456789abcdef01234567"
places = [{ path = "folder/vae.py", where = "8-9" }]
family = "fixed sigma"
scale_available = false
data = "grey"
samples = "mean"
maths_tested = false
remark = ""
[[program.objective]]
default = true
gaussian = true
recipe = "squared_error"
effective_beta = 2.0
derivation = "4 / 2"
constants = { beta = 4 }
"""


def ids(condition):
    """The programs of the tally that fulfil a condition."""
    return {program.id for program in PROGRAMS if program.in_tally and condition(program)}


@pytest.fixture
def written(tmp_path):
    """A function that writes a table and returns its path."""

    def write(text):
        path = tmp_path / "table.toml"
        path.write_text(text)
        return path

    return write


def test_the_tally_is_that_of_the_audit():
    counts = tally(PROGRAMS)
    assert counts["programs"] == 38
    assert (counts["grey_bernoulli"], counts["fixed_sigma"], counts["native"], counts["learned"]) == (12, 7, 14, 5)
    assert counts["grey_or_fixed"] == 19
    assert (counts["kl_weight_not_one"], counts["scale_available"]) == (8, 8)
    assert (counts["draws_shown"], counts["draws_on_request"], counts["maths_tested"]) == (5, 2, 1)


def test_the_four_families_share_out_the_tally():
    counts = tally(PROGRAMS)
    assert counts["grey_bernoulli"] + counts["fixed_sigma"] + counts["native"] + counts["learned"] == counts["programs"]
    assert (
        counts["draws_shown"] + counts["draws_on_request"] + counts["means_only"] + counts["nothing_shown"]
        == counts["programs"]
    )


def test_the_programs_behind_the_tally():
    six = {f"33{letter}" for letter in "abcdef"}
    assert ids(lambda p: p.family == Family.GREY_BERNOULLI) == {"1", "2", "3", "4a", "7", "21"} | six
    assert ids(lambda p: p.family == Family.FIXED_SIGMA) == {"4b", "17", "18", "19", "20", "23", "25"}
    assert ids(lambda p: p.family == Family.LEARNED) == {"22", "24", "27", "28", "29"}
    assert ids(lambda p: p.scale_available) == {"16", "22", "23", "24", "26", "27", "28", "29"}
    assert ids(lambda p: p.samples in (Samples.DRAW, Samples.BOTH)) == {"6", "11", "15", "27", "30"}
    weighted = ids(lambda p: p.default and p.default.effective_beta not in (None, 1))
    assert weighted == {"3", "4a", "4b", "13", "18", "19", "20", "25"}
    assert {program.id for program in PROGRAMS if program.maths_tested} == {"30", "31"}
    assert {program.id for program in PROGRAMS if not program.in_tally} == {"31", "34", "35", "36"}


def test_every_program_was_read_at_a_full_commit():
    assert all(re.fullmatch(r"[0-9a-f]{40}", program.commit) for program in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
def test_no_text_would_break_a_table(program):
    texts = [program.data, program.remark, *(loss.derivation for loss in program.objective)]
    texts += [text for place in program.places for text in (place.path, place.where)]
    assert not [text for text in texts if "|" in text or "\n" in text]


@pytest.mark.parametrize(("program", "loss"), WITH_RECIPE, ids=[f"{p.id} {o.name}".strip() for p, o in WITH_RECIPE])
def test_every_effective_beta_follows_from_its_recipe(program, loss):
    if loss.recipe not in ANALYTIC:
        assert loss.effective_beta == pytest.approx(derived_beta(loss), rel=1e-5)


def test_every_recipe_belongs_to_a_program():
    public = {n for n, f in inspect.getmembers(practice, inspect.isfunction) if f.__module__ == practice.__name__}
    assert {loss.recipe for _, loss in WITH_RECIPE} == public - {"implied_beta"}


def test_the_implied_deviation_is_the_root_of_the_effective_beta_of_a_squared_error():
    loss = Objective(default=True, gaussian=True, derivation="", effective_beta=4.0)
    assert loss.implied_std == 2
    assert Objective(default=True, gaussian=False, derivation="", effective_beta=4.0).implied_std is None
    assert Objective(default=True, gaussian=True, derivation="").implied_std is None


def test_the_implied_deviations_are_those_of_the_audit():
    marks = implied_deviations(PROGRAMS)
    assert len(marks) == 9 and sum(default for found in marks.values() for _, default in found) == 6
    assert marks["AntixK/PyTorch-VAE"] == [
        (pytest.approx(1.24, abs=0.005), True),
        (pytest.approx(78.4, abs=0.05), False),
    ]
    assert marks["YannDubs/disentangling-vae"] == [(pytest.approx(0.044, abs=0.0005), False)]


def test_a_derived_beta_needs_a_recipe():
    with pytest.raises(ValueError, match="has no recipe ''"):
        derived_beta(Objective(default=True, gaussian=True, derivation=""))


def test_a_link_leads_to_the_lines_at_the_commit(written):
    (program,) = load(written(VALID))
    address = f"https://github.com/owner/repository/blob/{program.commit}/folder/vae.py"
    assert program.link == f"[owner/repository]({address}#L8-L9)"
    assert program.links == f"[vae.py 8-9]({address}#L8-L9)"
    assert program.url(Place(path="folder/vae.py", where="8")) == f"{address}#L8"
    assert program.url(Place(path="folder/vae.py", where="train_step")) == address


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[program]]", "[[programme]]", "must hold \\[\\[program\\]\\] entries"),
        ('id = "1"', "id = ", "table.toml: Invalid value"),
        ('id = "1"', "id = 1", "program 1: id is 1; it must be str"),
        ("in_tally = true", 'in_tally = "yes"', "program 1: in_tally is 'yes'; it must be bool"),
        ("in_tally = true\n", "", "program 1: missing 1 required keyword-only argument: 'in_tally'"),
        ("in_tally = true", "in_tally = true\ncolour = 1", "program 1: got an unexpected keyword argument 'colour'"),
        ("0123456789abcdef", "0123", "commit is '0123.*'; it must be 40 hexadecimal digits"),
        ("owner/repository", "repository", "project is 'repository'; it must be owner/repository"),
        ("fixed sigma", "fixed", "family is 'fixed'; it must be one of 'grey Bernoulli'"),
        ('[{ path = "folder/vae.py", where = "8-9" }]', "[]", "it needs at least one place"),
        (', where = "8-9"', "", "program 1, place: missing 1 required keyword-only argument: 'where'"),
        ("squared_error", "cubed_error", "vaelib.practice has no recipe 'cubed_error'"),
        ("squared_error", "math", "vaelib.practice has no recipe 'math'"),
        ("2.0", "-2.0", "effective_beta is -2.0; it must be positive"),
        ("2.0", "0", "effective_beta is 0; it must be positive"),
        ("2.0", '"2"', "program 1, objective: effective_beta is '2'; it must be a number"),
        ("gaussian = true\n", "", "program 1, objective: missing 1 required keyword-only argument: 'gaussian'"),
    ],
)
def test_a_malformed_table_is_refused_and_the_message_says_where(old, new, message, written):
    assert old in VALID
    with pytest.raises(AuditError, match=message):
        load(written(VALID.replace(old, new, 1)))


def test_two_programs_cannot_have_one_id(written):
    with pytest.raises(AuditError, match="more than one program has the id 1"):
        load(written(VALID + VALID))


def test_two_objectives_cannot_both_be_the_default(written):
    second = VALID[VALID.index("[[program.objective]]") :]
    with pytest.raises(AuditError, match="more than one objective is the default"):
        load(written(VALID + second))


def test_the_tables_have_a_row_per_program():
    for table in (as_markdown(PROGRAMS), notes_markdown(PROGRAMS)):
        assert len(table.splitlines()) == 2 + len(PROGRAMS)
    (first,) = (line for line in as_markdown(PROGRAMS).splitlines() if "pytorch/examples" in line)
    assert [cell.strip() for cell in first.split("|")[2:-1]] == ["1", "grey", "mean"]
