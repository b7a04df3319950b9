r"""Claims are formulas: what they need is known before anything is measured, and they read nothing else."""

import math
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from vaelib.study import claims
from vaelib.study.claims import quantities
from vaelib.study.claims.criteria import Case, Claim, Kind, at_least, at_most, between
from vaelib.study.claims.quantities import (
    Run,
    accuracy,
    asked,
    baseline,
    constant,
    history,
    largest,
    least,
    least_loss,
    of,
    real,
    rises,
)
from vaelib.study.measures import bits, dial_arrival, few_labels, judged, judged_data, linear_theory, summary
from vaelib.study.measures.baselines import label_data
from vaelib.study.measures.codes import LABEL_COUNTS
from vaelib.study.measures.measured import data_judgement_key, data_key, judgement_key
from vaelib.study.models import of_the_book
from vaelib.study.trained import key
from vaelib.training import NonFiniteLossError

RUN = Run("quick", 0)


class Number(float):
    """A number whose every part is that number."""

    def __getitem__(self, part):
        return self

    def __iter__(self):
        yield self


@pytest.fixture
def reads(monkeypatch):
    """What is read, counted; every part of every measurement of a model is the length of the model's name."""
    found = Counter()

    def read(name, value):
        found[name] += 1
        return value

    def measured(measure, experiment, *, cache=None, **others):
        names = ", ".join([experiment.name, *(f"{role}={other.name}" for role, other in others.items())])
        return read(f"{measure.__name__}({names})", Number(len(experiment.name)))

    def remembered(key, compute, cache):
        """What images score, whose functions the claims have at hand already."""
        (name,) = {n.name for claim in claims.CLAIMS for n in claim.needs if not n.models and n.key(RUN) == key}
        return read(name, Number(1))

    def fetch(experiment, *, cache=None, report=None):
        epochs = [10 * len(experiment.name) + epoch for epoch in range(20)]
        record = {"history": dict.fromkeys(["loss", "train_mutual_information_nats"], epochs)}
        return SimpleNamespace(record=read(f"history({experiment.name})", record))

    def baselines(profile, *, cache=None):
        squared = {"5": 5.0, "10": 4.0, "20": 3.0}
        return read("baselines", SimpleNamespace(mse_mean_image=2.0, mse_pca=squared))

    for name in ("measured", "judged_by_all"):
        monkeypatch.setattr(quantities, name, measured)
    monkeypatch.setattr(sys.modules[data_key.__module__], "_remembered", remembered)
    monkeypatch.setattr(quantities, "fetch", fetch)
    monkeypatch.setattr(quantities, "baselines", baselines)
    return found


def test_each_claim_in_scope_is_there_once_and_in_order():
    assert [claim.id for claim in claims.CLAIMS] == [f"C{n:02d}" for n in range(1, 32)]


def test_every_criterion_has_an_end_and_every_case_a_condition_of_its_own():
    for claim in claims.CLAIMS:
        conditions = [*claim.tested, *claim.checked, *claim.explored]
        assert len(set(conditions)) == len(conditions), claim.id
        for measurand in claim.measurands:
            ends = measurand.criterion.low, measurand.criterion.high
            assert any(map(math.isfinite, ends)), measurand.metric


def test_a_theorem_is_checked_and_nothing_else_and_everything_else_is_tested():
    for claim in claims.CLAIMS:
        if claim.kind == Kind.THEOREM:
            assert claim.checked and not claim.tested and not claim.explored, claim.id
        else:
            assert claim.tested, claim.id


def test_every_case_of_a_measurement_has_what_must_meet_it_and_what_must_miss_it():
    without = [
        f"{claim.id}, {condition}"
        for claim in claims.CLAIMS
        for condition, case in claim.tested.items()
        if claim.kind == Kind.MEASUREMENT and not (case.must_meet and case.must_miss)
    ]
    assert not without


def test_every_criterion_of_a_case_is_held_against_something_that_is_not_the_model_of_the_claim():
    """Of a control at least one value is another quantity than that of the criterion."""
    for claim in claims.CLAIMS:
        for condition, case in claim.tested.items():
            for name, values in (*case.must_meet.items(), *case.must_miss.items()):
                same = [case.criteria[metric].quantity.formula == value.formula for metric, value in values.items()]
                assert not all(same), f"{claim.id}, {condition}: {name} is the model itself"


def test_a_claim_stands_in_the_module_of_its_section():
    for section in claims.SECTIONS:
        name = section.__name__.rpartition("section_")[2].replace("_", ".")
        assert all(c.section.startswith(name) for c in vars(section).values() if isinstance(c, Claim)), name


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


def test_what_judges_say_is_the_mean_over_them(monkeypatch):
    said = {"judged": {"frechet_clean": [1.0, 2.0, 6.0]}, "judged_data": {"real": {"frechet_clean": [4.0, 5.0, 9.0]}}}
    monkeypatch.setattr(quantities, "judged_by_all", lambda measure, model, *, cache: said[measure.__name__])
    monkeypatch.setattr(quantities, "data_judged_by_all", lambda measure, profile, *, cache: said[measure.__name__])
    model, images = asked(judged, "geco-d20", "frechet_clean"), real(judged_data, "real", "frechet_clean")
    assert (model.value(RUN), images.value(RUN)) == (3, 6)
    assert (model.formula, images.formula) == ("judged(geco-d20).frechet_clean", "judged_data()[real, frechet_clean]")
    assert (model.needs[0].models, images.needs[0].models) == (("geco-d20",), ())
    assert model.needs[0].key(RUN) == judgement_key(judged, RUN.model("geco-d20"))
    assert images.needs[0].key(RUN) == data_judgement_key(judged_data, "quick") == images.needs[0].key(Run("quick", 3))


def test_what_images_score_without_judges_is_the_number_at_the_path(monkeypatch):
    found = {"linear_theory": {"6": {"active": 2}, "1": {"active": 9}}}
    monkeypatch.setattr(quantities, "measured_data", lambda measure, profile, *, cache: found[measure.__name__])
    quantity = real(linear_theory, "6", "active")
    assert quantity.value(RUN) == 2.0 and isinstance(quantity.value(RUN), float)
    assert quantity.formula == "linear_theory()[6, active]"
    assert quantity.needs[0].key(RUN) == data_key(linear_theory, "quick")


def test_accuracy_is_the_mean_over_draws_at_a_number_of_labels_of_a_model_and_of_features_alike(monkeypatch):
    draws = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.6, 0.7, 0.8]]
    monkeypatch.setattr(quantities, "measured", lambda *a, **k: {"accuracy": draws})
    monkeypatch.setattr(quantities, "measured_data", lambda *a, **k: {"pixels": draws[:1]})
    on_codes, on_pixels = (accuracy(few_labels, "geco-d20", 300), accuracy(label_data, "pixels", LABEL_COUNTS[-1]))
    assert on_codes.value(RUN) == pytest.approx(0.4) and on_pixels.value(RUN) == 0.4
    assert (on_codes.formula, on_pixels.formula) == ("few_labels(geco-d20).accuracy[300]", "label_data().pixels[3000]")
    assert on_codes.needs[0].models == ("geco-d20",) and on_pixels.needs[0].models == ()
    with pytest.raises(ValueError, match="not in tuple"):
        accuracy(few_labels, "geco-d20", 200)


@pytest.mark.parametrize(("by", "loss"), [(0.05, -3), (0.125, -3), (0.2, 1), (0.25, 1), (0.3, math.nan)])
def test_the_least_loss_is_that_among_what_has_moved_by_as_much_and_nothing_where_nothing_has(by, loss):
    others = [(constant(bound), constant(share)) for bound, share in ((13, 0.625), (8, 0.75), (9, 0.25), (99, 0.5))]
    quantity = least_loss(constant(10), others, constant(0.5), by=by)
    found = quantity.value(RUN)
    assert math.isnan(found) if math.isnan(loss) else found == loss
    assert quantity.formula == f"least_loss(10, 0.5, by={by:g}, 13, 0.625, 8, 0.75, 9, 0.25, 99, 0.5)"


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
    monkeypatch.setattr(sys.modules[data_key.__module__], "_remembered", pytest.fail)
    monkeypatch.setattr(quantities, "baselines", pytest.fail)
    monkeypatch.setattr(quantities, "fetch", pytest.fail)
    one, two = (claims.pieces("quick", seeds) for seeds in ([0], [0, 1]))
    shared = {need.name for claim in claims.CLAIMS for need in claim.needs if not need.models}  # which have no seed
    assert {"baselines", "audit"} < shared and len(two) == 2 * len(one) - len(shared)


def test_a_piece_without_its_model_leaves_the_others_alone(monkeypatch):
    def fails(*arguments, **options):
        raise NonFiniteLossError("the loss is nan")

    monkeypatch.setattr(quantities, "measured", fails)
    case = {"always": Case({"m": at_least(0, of(summary, "geco-d20", "mse"))})}
    monkeypatch.setattr(claims, "CLAIMS", [Claim("C99", "5", "a test", tested=case)])
    assert [piece() for piece in claims.pieces("quick", [0])] == [None]


def test_a_build_trains_all_that_claims_need():
    needed = claims.models(claims.tasks("quick", [4]))
    assert needed.keys() < {key(model) for model in of_the_book("quick", seed=4).values()}
    again = claims.models(claims.tasks("quick", [4, 5]))
    assert len(again) == 2 * len(needed) - 1, "all but the classifier, which has one seed"


def test_a_model_is_needed_with_the_one_that_it_starts_from(monkeypatch):
    case = {"always": Case({"m": at_least(0, of(bits, "neighbourhood-kept-d20", "bits"))})}
    task = (Claim("C99", "5", "a test", tested=case), RUN)
    names = {model.name for model in claims.models([task]).values()}
    assert names == {"classifier", "neighbourhood-kept-d20", "calibrated-flow-d20"}
