r"""What a result depends on, as short hashes: configurations, code, and the versions beside them."""

import ast
import hashlib
import importlib.util
import json
import platform
from collections.abc import Iterable
from functools import cache as memoise
from pathlib import Path

import numpy
import safetensors
import torch

PACKAGE = "vaelib"


def digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form, first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@memoise
def code_digest(module: str) -> str:
    """Digest of a module and of all it imports from this package; comments, docstrings and layout do not count."""
    return digest({name: _normalised(source) for name, source in _closure(module).items()})


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _closure(module: str) -> dict[str, str]:
    """Source of a module and, recursively, of the modules of this package that it imports."""
    sources: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in sources:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                raise ValueError(
                    f"the code of {name!r} cannot be found, so its results cannot be kept; put it in a module"
                )
            sources[name] = Path(spec.origin).read_text(encoding="utf-8")
            pending += _imports(ast.parse(sources[name]))
    return sources


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(f"{PACKAGE}."))
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (f"{PACKAGE}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            yield str(node.module)


def _normalised(source: str) -> str:
    """The code alone: parsed and printed again without docstrings, so that prose can change freely."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            code = [line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
            node.body = code or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)
