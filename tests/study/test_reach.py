r"""What is remembered depends on what is reached: on all of it, and on nothing else."""

from functools import partial

import pytest

from vaelib import objectives
from vaelib.study import measures, models, reach
from vaelib.study.measures import measurement_key
from vaelib.study.trained import key

MEASURES = (
    measures.summary,
    measures.latent,
    measures.bits,
    measures.variance,
    measures.fitted_prior,
    measures.alpha_frechet,
    measures.bound,
    measures.evidence,
    measures.support,
    measures.encoder_path,
    measures.dial_gradient,
    measures.linear_optimum,
    measures.few_labels,
)
SIMPLE = "simple-d20"


@pytest.fixture
def edited(monkeypatch):
    """Reads a module of the package as if its text were another."""
    texts = {}
    read = reach._source
    memories = (reach._module, reach._definition)

    def edit(module, change):
        before = texts.get(module, read(module))
        texts[module] = change(before)
        assert texts[module] != before, "the edit changed nothing"
        forget()

    def forget():
        for memory in memories:
            memory.cache_clear()

    monkeypatch.setattr(reach, "_source", lambda module: texts.get(module) or read(module))
    forget()
    yield edit
    monkeypatch.undo()
    forget()


def replaced(old, new):
    return lambda text: text.replace(old, new, 1)


def added(code):
    return lambda text: f"{text}\n\n{code}\n"


def model_keys():
    return {name: key(model) for name, model in models.experiments("quick").items()}


def measurement_keys():
    model = models.experiments("quick")[SIMPLE]
    return {measure.__name__: measurement_key(measure, model) for measure in MEASURES}


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


CLASS = "class Another(nn.Module):\n    sigma = 1.0\n"
FUNCTION = "def another(vae, x):\n    return vae.posterior(x)\n"
ADDITIONS = {
    "vaelib.likelihoods.gaussian": CLASS,
    "vaelib.likelihoods.bernoulli": CLASS,
    "vaelib.objectives": FUNCTION,
    "vaelib.priors": FUNCTION,
    "vaelib.linear": FUNCTION,
    "vaelib.diagnostics.latent": FUNCTION,
    "vaelib.diagnostics.samples": FUNCTION,
    "vaelib.data": FUNCTION,
    "vaelib.mnist": FUNCTION,
    "vaelib.plots.images": FUNCTION,
    "vaelib.study.experiment": FUNCTION,
    "vaelib.study.models": FUNCTION,
    "vaelib.study.measures.codes": FUNCTION,
    "vaelib.study.measures.bounds": FUNCTION,
    "vaelib.study.claims.section_5_2": "ANOTHER = 1\n",
    "vaelib.build.cli": FUNCTION,
}


@pytest.mark.parametrize("module", ADDITIONS)
def test_what_is_added_trains_and_measures_nothing_again(edited, module):
    trained, measured = model_keys(), measurement_keys()
    edited(module, added(ADDITIONS[module]))
    assert model_keys() == trained and measurement_keys() == measured


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("vaelib.mnist", "cannot be read", "is unreadable"),
        ("vaelib.training", "at step", "in step"),
        ("vaelib.objectives", "beta must not be negative", "beta is negative"),
        ("vaelib.objectives", "The evidence lower bound of each example", "The bound of each example"),
        (
            "vaelib.objectives",
            "def elbo_nats(vae: VAE, x: Tensor) -> Tensor",
            "def elbo_nats(vae: nn.Module, x: Any) -> Any",
        ),
    ],
)
def test_wording_and_types_of_arguments_count_for_nothing(edited, module, old, new):
    trained, measured = model_keys(), measurement_keys()
    edited(module, replaced(old, new))
    assert model_keys() == trained and measurement_keys() == measured


def heads(*kinds):
    """The models with one of these heads."""
    found = models.experiments("quick")
    return {
        name
        for name, model in found.items()
        if isinstance(head := getattr(model, "head", None), partial | type)
        and (head.func if isinstance(head, partial) else head).__name__ in kinds
    }


VAES = set(models.experiments("quick")) - {"classifier"}
CALIBRATED = heads("CalibratedGaussian")
COPIES = heads("NoisyCopyHead")
STARTED = {name for name in VAES if "neighbourhood-kept" in name}  # from the calibrated flow
DEPENDANTS = {
    "a head": ("vaelib.likelihoods.gaussian", "torch.full_like(mu, self.sigma)", "torch.full_like(mu, self.sigma) + 0"),
    "the encoder": (
        "vaelib.networks",
        "nn.functional.softplus(self.sigma(h))",
        "nn.functional.softplus(2 * self.sigma(h))",
    ),
    "the divergence": (
        "vaelib.objectives",
        "return kl_divergence(qz_x, prior)",
        "return 1 * kl_divergence(qz_x, prior)",
    ),
    "a base class": (
        "vaelib.likelihoods.gaussian",
        'return self.get_buffer("variance").sqrt()',
        'return self.get_buffer("variance") ** 0.5',
    ),
    "a constant": ("vaelib.likelihoods.gaussian", "GECO_RATE = 0.01, 0.02", "GECO_RATE = 0.01, 0.03"),
    "a helper two calls away": (
        "vaelib.diagnostics.latent",
        "precision = sigma_z.pow(-2)",
        "precision = 1 / sigma_z**2",
    ),
    "a prior": ("vaelib.priors", "torch.zeros(components)", "torch.ones(components)"),
    "the loop": ("vaelib.training", "loss.backward()", "(1 * loss).backward()"),
    "the images": ("vaelib.mnist", "QUICK_SPLIT_SEED = 0", "QUICK_SPLIT_SEED = 1"),
    "the classifier": ("vaelib.study.classifier", "0.4 * amount", "0.5 * amount"),
}


def expected(what):
    found = {
        "a head": heads("FixedGaussian"),
        "the encoder": VAES,
        "the divergence": VAES,
        "a base class": CALIBRATED | COPIES | {"geco-d20"} | STARTED,
        "a constant": CALIBRATED | COPIES | {"geco-d20"} | STARTED,
        "a helper two calls away": VAES,
        "a prior": {"calibrated-mixture-d20"},
        "the loop": VAES | {"classifier"},
        "the images": VAES | {"classifier"},
        "the classifier": {"classifier"},
    }
    return found[what]


@pytest.mark.parametrize("what", DEPENDANTS)
def test_a_real_change_trains_the_true_dependants_and_no_others(edited, what):
    before = model_keys()
    module, old, new = DEPENDANTS[what]
    edited(module, replaced(old, new))
    assert changed(before, model_keys()) == expected(what)


def test_a_changed_default_changes_the_key():
    model = models.experiments("quick")["shared-sigma-d20"]
    assert key(model) != key(model.at(seed=1))
    from dataclasses import replace

    assert key(model) != key(replace(model, hidden=401))
    assert key(model) == key(replace(model, name="other", purpose="other", family="", role="", no_density="?"))


def test_a_measure_that_changes_measures_itself_again_and_nothing_else(edited):
    trained, measured = model_keys(), measurement_keys()
    edited(
        "vaelib.study.measures.codes",
        replaced("COLLAPSE_EPSILON, COLLAPSE_DELTA = 0.01", "COLLAPSE_EPSILON, COLLAPSE_DELTA = 0.02"),
    )
    assert model_keys() == trained
    assert changed(measured, measurement_keys()) == {"latent"}


def test_the_classifier_counts_only_for_what_it_judges(edited):
    measured = measurement_keys()
    edited("vaelib.study.classifier", replaced("0.4 * amount", "0.5 * amount"))
    assert changed(measured, measurement_keys()) == {"summary", "fitted_prior", "alpha_frechet"}


def test_a_definition_that_moves_to_another_file_keeps_its_key(edited):
    """Names in the key are short."""
    before = model_keys()
    text = reach._source("vaelib.objectives")
    start, end = text.index("def kl_nats"), text.index("def elbo_terms")
    edited("vaelib.objectives", lambda t: t[:start] + "from vaelib.networks import kl_nats\n\n\n" + t[end:])
    edited("vaelib.networks", added("from torch.distributions import kl_divergence\n\n\n" + text[start:end]))
    assert model_keys() == before


CELLS = "from vaelib import plots\nfrom vaelib.study.models import find_vae\nfind_vae('simple-d2')\nplots.image_grid(x)"


def test_the_cells_of_a_notebook_depend_on_the_plots_that_they_draw(edited):
    before = reach.source_digest(CELLS)
    edited("vaelib.plots.images", replaced("np.ones((", "np.zeros(("))
    assert reach.source_digest(CELLS) != before


@pytest.mark.parametrize(
    "module", ["vaelib.build.cli", "vaelib.build.notebooks", "vaelib.build.jobs", "vaelib.interactives"]
)
def test_the_cells_of_a_notebook_do_not_depend_on_what_makes_the_book(edited, module):
    before = reach.source_digest(CELLS)
    edited(module, added("X = 1"))
    edited(module, replaced("def ", "def _unused(x):\n    return x\n\n\ndef "))
    assert reach.source_digest(CELLS) == before


def own_objective(vae, x):
    return OWN_FACTOR * objectives.elbo_nats(vae, x)


OWN_FACTOR = 2.0


def test_an_objective_from_elsewhere_counts_with_what_it_reads(monkeypatch):
    found = dict(reach.reached(own_objective))
    assert {"own_objective", "OWN_FACTOR", "elbo_nats", "kl_nats", "ElboTerms"} <= found.keys()
    before = reach.code_digest(own_objective)
    monkeypatch.setitem(globals(), "OWN_FACTOR", 3.0)
    assert reach.code_digest(own_objective) != before


def test_code_that_cannot_be_read_is_refused_with_a_way_out():
    namespace = {"__name__": "nowhere"}
    exec("def mine(vae, x): return x", namespace)
    with pytest.raises(reach.UnreachableCodeError, match="define it by `def`"):
        reach.code_digest(namespace["mine"])
