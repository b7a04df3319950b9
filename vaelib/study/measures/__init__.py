r"""What is measured of a trained model, on the test split, once.

A measure is a pure function of a VAE and of what else it names: `experiment`, `train` and `test` images (of the model's
digit, or all), the `classifier` of the profile, further VAEs. It returns numbers by name; no two measures share a name.
One that names all `judges` of the profile is asked by `judged_by_all`.
"""

from vaelib.study.measures.baselines import Baselines, baselines, few_label_baselines
from vaelib.study.measures.bounds import bits, bound, dial_arrival, dial_gradient, evidence, linear_optimum, support
from vaelib.study.measures.codes import encoder_path, few_labels, latent, variance
from vaelib.study.measures.controls import (
    blurred_and_noisy,
    label_controls,
    linear_bound,
    linear_theory,
    recognised_controls,
    sample_controls,
    structure_controls,
)
from vaelib.study.measures.judged import codes_judged, judged, judged_data, twin_judged
from vaelib.study.measures.measured import Asked, judged_by_all, measured, measurement_key
from vaelib.study.measures.profiles import bounds_by_split, budget, linear_scale
from vaelib.study.measures.readings import local_evidence, read_bits, twin_read_bits
from vaelib.study.measures.rungs import fitted_rungs, rung
from vaelib.study.measures.samples import alpha_frechet, fitted_prior, summary
from vaelib.study.measures.structure import (
    code_correlation,
    midpoints_judged,
    pixel_structure,
    posterior_correlation,
    quantiles_judged,
    recognised,
    twin_bound,
)
