r"""What the stored numbers were measured with, so that a test can say when they are out of date."""

import ast
from pathlib import Path

from training_cost import NAMES

from vaelib.study.models import find_vae
from vaelib.study.reach import digest
from vaelib.study.trained import key

#: The model of the loops, beside those whose cost is measured.
LOOP_MODEL = "bernoulli-d20"


def origin() -> dict[str, str]:
    """Digest of the code that measures, comments and layout left out, and the key of each model of the full profile.

    The cost of a step is the same under each profile, and no other time is measured of the quick one's models but that
    of the whole book.
    """
    files = sorted(set(Path(__file__).parent.glob("*.py")) - {Path(__file__)})
    code = {file.name: ast.unparse(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
    return {"benchmarks": digest(code)} | {name: key(find_vae(name, "full")) for name in (LOOP_MODEL, *NAMES)}
