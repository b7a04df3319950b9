r"""What the build does with notebooks: run what is out of date, and store a run's outputs in the committed file."""

import filecmp
import hashlib
import logging
import os
import re
import shutil
import time
from ast import literal_eval
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import nbformat
import papermill
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator
from traitlets.config import Config

import vaelib
from vaelib.build import kernels
from vaelib.build.jobs import side_by_side
from vaelib.build.kernels import KERNEL
from vaelib.build.provenance import MADE_FROM, OURS, attribute
from vaelib.data import PROFILES
from vaelib.errors import MendableError
from vaelib.study import reach
from vaelib.study.lookups import NOTES

PARAMETERS_TAG = "parameters"
#: The key of the digest in the metadata of an executed notebook.
DIGEST = "digest"
#: Packages whose next version may compute or draw otherwise.
PACKAGES = ("torch", "matplotlib")
#: Where `vaelib report` writes among the executed notebooks.
GENERATED = "_generated"

#: The id of the first code cell, which installs the library where it is missing.
INSTALL_ID = "install"
INSTALL = """\
# On Binder and Colab the library is missing and is installed; elsewhere this does nothing.
from importlib.util import find_spec
from pathlib import Path

if find_spec("vaelib") is None:
{fetch}    checkout = Path("..").resolve().as_uri()
    %pip install --quiet "vaelib[notebook] @ {{checkout}}\""""
#: What stands there where the address of the repository is known, and where it is not.
FETCH = """\
    if not Path("../pyproject.toml").is_file():
        !git clone --quiet --depth 1 {repository} vaelib-source
        %cd -q vaelib-source/book
"""
ASK = """\
    if not Path("../pyproject.toml").is_file():
        raise FileNotFoundError("the library is missing: open this notebook in the folder book/ of its repository")
"""

#: The same in each committed notebook, whoever ran it.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
    "language_info": {"name": "python", "file_extension": ".py"}
    | {"mimetype": "text/x-python", "pygments_lexer": "ipython3"},
}


class NotebookError(MendableError, RuntimeError):
    """A notebook that the book cannot hold."""


class Executed(NamedTuple):
    """A notebook that was executed, in how many seconds, and what went wrong, empty if nothing did."""

    source: Path
    seconds: float
    error: str


def out_of_date(targets: Mapping[Path, Path], parameters: dict[str, Any]) -> dict[Path, Path]:
    """Those whose target is missing or was made of something else, the longest first."""
    old = [one for one, target in targets.items() if _prepared(one, parameters)[1] != _digest_of(target)]
    return {one: targets[one] for one in sorted(old, key=lambda one: one.stat().st_size, reverse=True)}


def run_all(
    targets: Mapping[Path, Path], parameters: dict[str, Any], *, timeout: int, jobs: int | None = None
) -> Iterator[Executed]:
    """Execute notebooks in `jobs` processes, each of which prints what it begins; yields them as they end.

    That one ends with a `NotebookError` does not keep the others.
    """
    work = [partial(_execute, source, target, parameters, timeout) for source, target in targets.items()]
    yield from side_by_side(work, jobs=jobs)


def _execute(source: Path, target: Path, parameters: dict[str, Any], timeout: int) -> Executed:
    began, said = time.monotonic(), ""
    print(f"execute    {source}", flush=True)
    try:
        run(source, target, parameters=parameters, timeout=timeout)
    except NotebookError as error:
        said = str(error)
    return Executed(source, time.monotonic() - began, said)


def copy(book: Path, target: Path, *, toc: Path) -> dict[Path, Path]:
    """Make `target` a copy of the folder `book`, its notebooks left out; returns where these are to be executed.

    Of Markdown and notebooks the book has those that the table of contents names, whatever else lies beside them.
    """
    pages = {
        (toc.parent / page).resolve() for page in re.findall(r"(?:root|file): *(\S+)", toc.read_text(encoding="utf-8"))
    }
    kept = {
        file.relative_to(book)
        for file in book.rglob("*")
        if file.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in file.relative_to(book).parts)
        and (file.suffix not in (".md", ".ipynb") or file.resolve().with_suffix("") in pages)
    }
    (target / GENERATED).mkdir(parents=True, exist_ok=True)
    there = {file.relative_to(target) for file in target.rglob("*") if file.is_file()}
    for name in there - kept:
        if name.parts[0] != GENERATED:
            (target / name).unlink()
    for name in kept:
        if name.suffix != ".ipynb" and not (name in there and filecmp.cmp(book / name, target / name, shallow=False)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(book / name, target / name)
    return {book / name: target / name for name in sorted(kept) if name.suffix == ".ipynb"}


def _prepared(source: Path, parameters: dict[str, Any]) -> tuple[NotebookNode, str]:
    """The notebook with these parameters, and a digest of all that its execution depends on.

    These are its cells but for their outputs, the code of this package that they reach and the data beside that code,
    the files in `results/` beside the notebook, and the versions of `PACKAGES`.
    """
    try:
        notebook, python = nbformat.read(source, as_version=4), TransformerManager()
        set_parameters(notebook, parameters)
    except NotebookError as error:
        raise NotebookError(f"{source}: its {error}") from None
    code = [python.transform_cell(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    files = [file for file in Path(vaelib.__file__).parent.rglob("*") if file.suffix in (".toml", ".js")]
    files += [file for file in (source.parent / "results").rglob("*") if file.is_file()]
    told = [cell.metadata | {OURS: cell.metadata.get(OURS, {}).get(MADE_FROM)} for cell in notebook.cells]
    depends = {
        "cells": [(cell.cell_type, cell.source, metadata) for cell, metadata in zip(notebook.cells, told, strict=True)],
        "code": reach.source_digest("\n".join(code)),
        "files": [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in sorted(files)],
        "versions": [version(name) for name in PACKAGES],
    }
    return notebook, reach.digest(depends)


def _digest_of(executed: Path) -> str | None:
    """The digest that an executed notebook was made with."""
    return nbformat.read(executed, as_version=4).metadata.get(OURS, {}).get(DIGEST) if executed.is_file() else None


def run(source: Path, target: Path, *, parameters: dict[str, Any], timeout: int) -> None:
    """Execute `source` in the folder of `target` and write `target`, all of it or nothing.

    The metadata of each cell that makes a figure say which models it is made from (`provenance.attribute`).

    Raises `NotebookError` for a parameter that cannot be set (:func:`set_parameters`), where a cell raises, takes more
    than `timeout` seconds or ends the kernel, and for a figure without a picture or made from other models than it
    declares.
    """
    notebook, made_of = _prepared(source, parameters)
    target.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    partial = target.with_name(f".{target.name}")  # hidden, so that Jupyter Book never takes it for a page
    with kernels.folder() as place, patch.dict(os.environ, kernels.environment(place) | {NOTES: str(place / NOTES)}):
        config = Config(KernelManager=kernels.sockets(place))
        options = {"kernel_name": KERNEL, "cwd": str(target.parent), "execution_timeout": timeout}
        options["coalesce_streams"] = True  # one text, in however many pieces it came from a kernel that was busy
        try:
            nbformat.write(notebook, partial)
            papermill.execute_notebook(str(partial), str(partial), progress_bar=False, config=config, **options)
            notebook = nbformat.read(partial, as_version=4)
            check_outputs(notebook)
            attribute(notebook, place / NOTES, parameters)
            notebook.metadata[OURS] = {DIGEST: made_of}
            nbformat.write(notebook, partial)
            partial.replace(target)
        except (PapermillExecutionError, CellTimeoutError, DeadKernelError, MendableError) as error:
            raise NotebookError(f"{source}: {_in_words(error, timeout)}; {target} was not written") from error
        finally:
            partial.unlink(missing_ok=True)


def _in_words(error: Exception, timeout: int) -> str:
    match error:
        case PapermillExecutionError():
            said = "\n".join([f"its cell {error.exec_count} raised {error.ename}: {error.evalue}", *error.traceback])
            return f"{said}\n(mend that, then run the same command again)"
        case CellTimeoutError():
            return f"a cell took longer than {timeout} seconds (--timeout, in make TIMEOUT=SECONDS, gives it longer)"
        case DeadKernelError():
            return "its kernel died, perhaps for want of memory (run the same command again)"
    return f"its {error}"


def typed(text: str) -> Any:
    """A parameter from the command line: a number, True, False, None or, if it is nothing of these, the text."""
    try:
        return literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def set_parameters(notebook: NotebookNode, parameters: dict[str, Any]) -> None:
    """Put the values into the cell of parameters; the page then shows the values that it was computed with.

    Raises `NotebookError` unless the cell sets each of these on a line of its own, to a value of its type (an integer
    is a number too), and for a profile or a seed that there is not.
    """
    tagged = [cell for cell in notebook.cells if PARAMETERS_TAG in cell.metadata.get("tags", [])]
    where = f"cell tagged {PARAMETERS_TAG!r}"
    assigned = r"^(\w+)( *= *)([^#\n]*?)( *(?:#.*)?)$"
    known = {found[1]: literal_eval(found[3]) for cell in tagged for found in re.finditer(assigned, cell.source, re.M)}
    if unknown := sorted(parameters.keys() - known.keys()):
        raise NotebookError(f"{where} does not set {', '.join(unknown)}; it sets {', '.join(known) or 'nothing'}")
    for name, value in parameters.items():
        default = known[name]
        if type(value) not in ({int, float} if isinstance(default, float) else {type(default)}):
            raise NotebookError(f"{where} sets {name} to {default!r}, and {value!r} is of another type")
    if parameters.get("profile", PROFILES[0]) not in PROFILES or not 0 <= parameters.get("seed", 0) < 2**63:
        raise NotebookError(f"{where} takes a profile ({', '.join(PROFILES)}) and a seed from 0 to 2^63 - 1")

    def replaced(found: re.Match[str]) -> str:
        value = parameters.get(found[1], known[found[1]])
        literal = found[3] if value == known[found[1]] else PythonTranslator.translate(value)
        return found[1] + found[2] + literal + found[4]

    for cell in tagged:
        cell.source = re.sub(assigned, replaced, cell.source, flags=re.M)


def check_outputs(notebook: NotebookNode) -> None:
    """Raise for what Jupyter Book would publish: an error, a warning or the like, a figure without its picture."""
    for index, cell in enumerate(notebook.cells):
        outputs, figure = cell.get("outputs", []), cell.metadata.get("mystnb", {}).get("figure")
        if any(output.output_type == "error" for output in outputs):
            raise NotebookError(f"cell {index} holds an error output")
        if said := "".join(output.text for output in outputs if output.get("name") == "stderr").strip():
            raise NotebookError(f"cell {index} printed to standard error, which would stand on its page: {said}")
        if figure and not any({"image/png", "text/html"} & output.get("data", {}).keys() for output in outputs):
            raise NotebookError(f"cell {index} is to make the figure {figure.get('name')} and shows no picture")


def store(source: Path, executed: Path) -> bool:
    """Write the outputs of `executed`, and what they were computed from, into the committed notebook `source`.

    Returns whether that changed it.
    """
    before = source.read_text(encoding="utf-8")
    notebook, outputs = nbformat.reads(before, as_version=4), nbformat.read(executed, as_version=4)
    if [cell.source for cell in notebook.cells] != [cell.source for cell in outputs.cells]:
        raise NotebookError(f"{executed} was not made from it as it is now, with its default parameters")
    for cell, result in zip(notebook.cells, outputs.cells, strict=True):
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.metadata.pop(OURS, None)
            if OURS in result.metadata:
                cell.metadata[OURS] = result.metadata[OURS]
            cell.outputs = result.outputs
    _count(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return False
    source.write_text(after, encoding="utf-8")
    computed = executed.stat().st_mtime_ns
    os.utime(source, ns=(computed, computed))  # what make compares: storing outputs makes nothing out of date
    return True


def _count(notebook: NotebookNode) -> None:
    """Number the code cells that are not empty, and their results, from top to bottom."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += bool(cell.source.strip())
            cell.execution_count = count if cell.source.strip() else None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count


def install_source(repository: str | None) -> str:
    """The source of the first code cell; with the address of a repository it also works outside of a checkout."""
    return INSTALL.format(fetch=FETCH.format(repository=repository) if repository else ASK)


def write_install_cell(source: Path, repository: str | None) -> bool:
    """Put the cell that installs the library before all other code of a notebook; whether that changed it."""
    before = source.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    cells = [cell for cell in notebook.cells if cell.id != INSTALL_ID]
    first = next(index for index, cell in enumerate(cells) if cell.cell_type == "code")
    install = nbformat.v4.new_code_cell(install_source(repository), id=INSTALL_ID, metadata={"tags": ["remove-cell"]})
    notebook.cells = [*cells[:first], install, *cells[first:]]
    _count(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        source.write_text(after, encoding="utf-8")
    return after != before


def picture(notebook: Path, figure: str) -> bytes:
    """The PNG of the figure with this name in an executed notebook."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == figure:
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return b64decode(output.data["image/png"])
    raise NotebookError(f"{notebook} holds no picture of {figure!r}; execute it first")
