r"""Single numbers of the stored reference results, for sentences of the text.

A sentence that states a finding carries its name, `<!-- finding: NAME -->`, and `tests/study/test_findings.py` says
what must be true of the stored results for it to stand. The numbers in it are `quoted`.
"""

from collections.abc import Sequence

import pandas as pd

from vaelib.study.comparison import spread, values_of
from vaelib.study.judging import Finding
from vaelib.study.verdicts import NOT_MEASURED, ClaimRecord


def finding(records: Sequence[ClaimRecord], claim: str, *words: str, control: str = "") -> Finding:
    """What was measured of a claim where `; condition; metric`, as in its table, holds all of the words.

    That of a control if one is named. Raises LookupError, which names what there is, if that is not one finding.
    """
    found = [f for r in records if r.id == claim for f in r.findings if f.control == control]
    chosen = [f for f in found if all(word in f"; {f.condition}; {f.metric}" for word in words)]
    if len(chosen) != 1:
        there = "".join(f"\n  {f.condition}; {f.metric}" for f in chosen or found)
        raise LookupError(f"{claim} has {len(chosen)} findings with the words {words}; there are:{there or ' none'}")
    return chosen[0]


def quoted(
    records: Sequence[ClaimRecord], claim: str, *words: str, form: str = "{:.2f}", factor: float = 1, control: str = ""
) -> str:
    """Mean and, over several seeds, standard deviation of a `finding`, times a factor; or that there is none stored."""
    if all(record.id != claim for record in records):
        return NOT_MEASURED
    found = finding(records, claim, *words, control=control)
    if not found.known:
        return NOT_MEASURED
    mean = form.format(factor * found.mean)
    return mean if len(found.known) == 1 else f"{mean} ± {form.format(abs(factor) * found.spread).lstrip('+')}"


def shown(found: pd.DataFrame, model: str, column: str, *, form: str = "{:.2f}") -> str:
    """The same of one model and column of a stored frame; raises LookupError if the frame has no value there."""
    if not (values := values_of(found, model, column)):
        raise LookupError(f"no {column} of {model} is stored; there are: {', '.join(found['model'].unique())}")
    return spread(values, form)
