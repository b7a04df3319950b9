r"""Claims are formulas: what they need is known before anything is measured, and they read nothing else."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest

from vaelib.study import claims
from vaelib.study.claims import quantities
from vaelib.study.claims.criteria import Case, Claim, Kind, at_least, at_most, between
from vaelib.study.claims.quantities import Run, baseline, constant, history, largest, least, of, rises
from vaelib.study.measures import bits, dial_arrival, summary
from vaelib.study.models import behind_the_claims, claim_seeds
from vaelib.study.trained import key
from vaelib.training import NonFiniteLossError

RUN = Run("quick", 0)


@pytest.fixture
def reads(monkeypatch):
    """What is read, counted; every field of every measurement of a model is the length of the model's name."""
    found = Counter()

    def read(name, value):
        found[name] += 1
        return value

    class Same(dict):
        def __missing__(self, field):
            return self["value"]

    def measured(measure, experiment, *, cache=None, **others):
        names = ", ".join([experiment.name, *(f"{role}={other.name}" for role, other in others.items())])
        return read(f"{measure.__name__}({names})", Same(value=len(experiment.name)))

    def fetch(experiment, *, cache=None, report=None):
        epochs = [10 * len(experiment.name) + epoch for epoch in range(20)]
        record = {"history": dict.fromkeys(["loss", "train_mutual_information_nats"], epochs)}
        return SimpleNamespace(record=read(f"history({experiment.name})", record))

    def baselines(profile, *, cache=None):
        return read("baselines", SimpleNamespace(mse_mean_image=2.0, frechet_train=3.0, mse_pca={"10": 4.0}))

    monkeypatch.setattr(quantities, "measured", measured)
    monkeypatch.setattr(quantities, "fetch", fetch)
    monkeypatch.setattr(quantities, "baselines", baselines)
    return found


def test_each_claim_in_scope_is_there_once_and_in_order():
    assert [claim.id for claim in claims.CLAIMS] == [f"C{n:02d}" for n in range(1, 26)]


def test_every_criterion_has_an_end_and_every_case_a_condition_of_its_own():
    for claim in claims.CLAIMS:
        conditions = [*claim.tested, *claim.checked, *claim.explored]
        assert len(set(conditions)) == len(conditions), claim.id
        for measurand in claim.measurands:
            ends = measurand.criterion.low, measurand.criterion.high
            assert any(map(math.isfinite, ends)), measurand.metric


def test_a_theorem_is_checked_and_everything_else_is_tested():
    for claim in claims.CLAIMS:
        proved = claim.kind == Kind.THEOREM
        assert bool(claim.tested) != proved and (claim.checked or not proved), claim.id


def test_a_claim_stands_in_the_module_of_its_section():
    for section in claims.SECTIONS:
        name = section.__name__.rpartition("section_")[2].replace("_", ".")
        assert all(c.section.startswith(name) for c in vars(section).values() if isinstance(c, Claim)), name


def test_claims_are_measured_over_at_least_three_seeds_from_the_one_of_the_build():
    assert claim_seeds("quick", 4)[0] == 4
    assert len(set(claim_seeds("quick", 4))) >= 3


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        (at_least(2, constant(0)), "at least 2"),
        (at_most(0.8, constant(0)), "at most 0.8"),
        (between(1, 3, constant(0)), "1 to 3"),
    ],
)
def test_a_threshold_in_words_is_the_closed_interval(criterion, words):
    assert criterion.threshold == words
    for end, outside in ((criterion.low, -0.1), (criterion.high, 0.1)):
        assert math.isinf(end) or (criterion.met(end) and not criterion.met(end + outside))
    assert criterion.met(math.nan) is None


def test_a_claim_reads_all_that_it_needs_and_nothing_else(reads):
    for claim in claims.CLAIMS:
        reads.clear()
        for measurand in claim.measurands:
            measurand.criterion.quantity.value(RUN)
        assert set(reads) == {need.name for need in claim.needs} - {"audit"}, claim.id


def test_formulas_compose_and_are_computed_as_they_read(reads):
    a, b = of(summary, "limit-d20", "mse"), of(summary, "geco-d20", "mse")  # 9 and 8, by their names
    mean = baseline("mse_mean_image")
    for quantity, formula, value in (
        (a / b, "(summary(limit-d20).mse / summary(geco-d20).mse)", 9 / 8),
        (a - b, "(summary(limit-d20).mse - summary(geco-d20).mse)", 1),
        ((a + b) / mean, "((summary(limit-d20).mse + summary(geco-d20).mse) / baselines.mse_mean_image)", 8.5),
        (b**2, "summary(geco-d20).mse^2", 64),
        (constant(20) - b, "(20 - summary(geco-d20).mse)", 12),
        (baseline("mse_pca", "10"), "baselines.mse_pca[10]", 4),
        (largest([a, b, mean]), "max(summary(limit-d20).mse, summary(geco-d20).mse, baselines.mse_mean_image)", 9),
        (least([a, b, mean]), "min(summary(limit-d20).mse, summary(geco-d20).mse, baselines.mse_mean_image)", 2),
    ):
        assert (quantity.formula, quantity.value(RUN)) == (formula, value)


def test_a_tie_is_no_rise_but_is_not_a_fall_either():
    steps = [constant(value) for value in (1, 3, 3, 2, 5)]
    assert rises(steps, strictly=True).value(RUN) == 2
    assert rises(steps, strictly=False).value(RUN) == 3
    assert rises(steps, strictly=True).formula != rises(steps, strictly=False).formula


def test_history_is_read_after_a_part_of_training_and_after_one_epoch_at_least(reads):
    assert history("geco-d20", "loss", part=10).value(RUN) == 80 + 1, "the second of twenty epochs"
    assert history("geco-d20", "loss", part=40).value(RUN) == 80, "the first"


def test_a_measurement_beside_another_model_needs_both():
    quantity = of(dial_arrival, "beta-0.01-d20", "rms_difference", twin="sigma-0.1-d20")
    assert quantity.formula == "dial_arrival(beta-0.01-d20, twin=sigma-0.1-d20).rms_difference"
    assert quantity.needs[0].models == ("beta-0.01-d20", "sigma-0.1-d20")
    other = of(dial_arrival, "beta-0.01-d20", "rms_difference", twin="sigma-1-d20")
    assert quantity.needs[0].key(RUN) != other.needs[0].key(RUN)


def test_a_piece_of_work_is_made_once_whatever_asks_for_it(reads, monkeypatch):
    ratio = of(summary, "geco-d20", "mse") / (of(summary, "geco-d20", "kl_nats") + baseline("mse_mean_image"))
    both = [
        Claim(id, "5", "a test", tested={"always": Case({"m": at_least(0, quantity)})})
        for id, quantity in (("C98", ratio), ("C99", ratio / of(bits, "geco-d20", "bits")))
    ]
    monkeypatch.setattr(claims, "CLAIMS", both)
    for piece in claims.pieces("quick", [0, 1]):
        piece()
    assert reads == {"summary(geco-d20)": 2, "bits(geco-d20)": 2, "baselines": 1}


def test_the_pieces_of_all_claims_are_known_without_measuring(monkeypatch):
    monkeypatch.setattr(quantities, "measured", pytest.fail)
    monkeypatch.setattr(quantities, "fetch", pytest.fail)
    one, two = (claims.pieces("quick", seeds) for seeds in ([0], [0, 1]))
    shared = 2  # the baselines and the audit, which have no seed
    assert len(two) == 2 * len(one) - shared


def test_a_piece_without_its_model_leaves_the_others_alone(monkeypatch):
    def fails(*arguments, **options):
        raise NonFiniteLossError("the loss is nan")

    monkeypatch.setattr(quantities, "measured", fails)
    case = {"always": Case({"m": at_least(0, of(summary, "geco-d20", "mse"))})}
    monkeypatch.setattr(claims, "CLAIMS", [Claim("C99", "5", "a test", tested=case)])
    assert [piece() for piece in claims.pieces("quick", [0])] == [None]


def test_the_models_that_claims_need_are_those_whose_role_says_so():
    needed = claims.models(claims.tasks("quick", [0, 1]))
    assert needed.keys() == {key(model) for model in behind_the_claims("quick", [0, 1])}


def test_a_model_is_needed_with_the_one_that_it_starts_from(monkeypatch):
    case = {"always": Case({"m": at_least(0, of(bits, "neighbourhood-kept-d20", "bits"))})}
    task = (Claim("C99", "5", "a test", tested=case), RUN)
    names = {model.name for model in claims.models([task]).values()}
    assert names == {"classifier", "neighbourhood-kept-d20", "calibrated-flow-d20"}
