r"""What the stored numbers were measured with, so that a test can say when they are out of date."""

import ast
from pathlib import Path

from training_cost import NAMES

from vaelib.catalogue import find_vae
from vaelib.provenance import digest

#: The model of the loops, beside those whose cost is measured.
LOOP_MODEL = "bernoulli-d20"


def origin() -> dict[str, str]:
    """Digest of the code of the benchmarks, comments and layout left out, and the key of each model in them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    code = {file.name: ast.unparse(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
    return {"benchmarks": digest(code)} | {name: find_vae(name).key for name in (LOOP_MODEL, *NAMES)}
