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
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import matplotlib
import nbformat
import papermill
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator
from traitlets.config import Config

import vaelib
from vaelib.build.jobs import side_by_side
from vaelib.build.provenance import MADE_FROM, OURS, attribute
from vaelib.errors import MendableError
from vaelib.study import reach
from vaelib.study.cache import cache_folder
from vaelib.study.lookups import LOOKUPS, noted

KERNEL = "python3"
PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
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


def run_all(
    book: Path, target: Path, *, toc: Path, parameters: dict[str, Any], timeout: int, jobs: int | None = None
) -> Iterator[Executed]:
    """Make `target` a copy of the folder `book` in which all notebooks are executed; yields those that had to be.

    Pages are the files that the table of contents names, whatever else lies beside them. Notebooks run in `jobs`
    processes, each of which prints what it begins; that one cannot be executed does not keep the others.
    """
    targets = {page: target / page.relative_to(book) for page in copy(book, target, toc=toc)}
    old = [page for page, executed in targets.items() if digest(page, parameters) != _digest_of(executed)]
    old.sort(key=lambda page: page.stat().st_size, reverse=True)  # the longest first
    yield from side_by_side([partial(_execute, page, targets[page], parameters, timeout) for page in old], jobs=jobs)


def _execute(source: Path, target: Path, parameters: dict[str, Any], timeout: int) -> Executed:
    began, said = time.monotonic(), ""
    print(f"execute    {source}", flush=True)
    try:
        run(source, target, parameters=parameters, timeout=timeout)
    except NotebookError as error:
        said = str(error)
    return Executed(source, time.monotonic() - began, said)


def copy(book: Path, target: Path, *, toc: Path) -> list[Path]:
    """Copy what the book is made of, remove what it is no longer made of; the notebooks, which are not copied."""
    pages = {(toc.parent / page).resolve() for page in re.findall(r"(?:root|file): *(\S+)", toc.read_text())}
    kept = {
        file.relative_to(book)
        for file in book.rglob("*")
        if file.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in file.relative_to(book).parts)
        and (file.suffix not in (".md", ".ipynb") or file.resolve().with_suffix("") in pages)
    }
    there = {file.relative_to(target) for file in target.rglob("*") if file.is_file()}
    for name in there - kept:
        if name.parts[0] != GENERATED:
            (target / name).unlink()
    for name in kept:
        if name.suffix != ".ipynb" and not (name in there and filecmp.cmp(book / name, target / name, shallow=False)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(book / name, target / name)
    return sorted(book / name for name in kept if name.suffix == ".ipynb")


def digest(source: Path, parameters: dict[str, Any]) -> str:
    """Digest of all that an execution of the notebook depends on.

    These are its cells but for their outputs, the parameters, the code of this package that the cells reach and the
    data beside that code, the files in `results/` beside the notebook, and the versions of `PACKAGES`.
    """
    cells, python = nbformat.read(source, as_version=4).cells, TransformerManager()
    for cell in cells:
        cell.metadata[OURS] = cell.metadata.get(OURS, {}).get(MADE_FROM)
    files = [file for file in Path(vaelib.__file__).parent.rglob("*") if file.suffix in (".toml", ".js")]
    files += [file for file in (source.parent / "results").rglob("*") if file.is_file()]
    depends = {
        "cells": [(cell.cell_type, cell.source, cell.metadata) for cell in cells],
        "parameters": parameters,
        "code": reach.source_digest(
            "\n".join(python.transform_cell(cell.source) for cell in cells if cell.cell_type == "code")
        ),
        "files": [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in sorted(files)],
        "versions": [version(name) for name in PACKAGES],
    }
    return reach.digest(depends)


def _digest_of(executed: Path) -> str | None:
    """The digest that an executed notebook was made with."""
    return nbformat.read(executed, as_version=4).metadata.get(OURS, {}).get(DIGEST) if executed.is_file() else None


def run(source: Path, target: Path, *, parameters: dict[str, Any], timeout: int) -> bool:
    """Execute `source` in the folder of `target` and write `target`, all of it or nothing; False if it was up to date.

    The metadata of each cell that makes a figure say which models it is made from (`provenance.attribute`).

    Raises `NotebookError` for a parameter that its cell of parameters does not set or sets to a value of another type,
    where a cell raises, takes more than `timeout` seconds or ends the kernel, and for a figure without a picture or
    made from other models than it declares.
    """
    check_parameters(source, parameters)
    made_of = digest(source, parameters)
    if made_of == _digest_of(target):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    partial = target.with_name(f".{target.name}")  # hidden, so that Jupyter Book never takes it for a page
    with TemporaryDirectory() as folder, patch.dict(os.environ, _settings(Path(folder))):
        # The kernel is spoken to through files rather than ports: it needs no network, not even the machine's own. It
        # is that of this Python, which is found where there are no folders of kernels.
        config = Config(
            KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}, KernelSpecManager={"kernel_dirs": []}
        )
        options = {"kernel_name": KERNEL, "cwd": str(target.parent), "execution_timeout": timeout}
        try:
            papermill.execute_notebook(source, partial, parameters, progress_bar=False, config=config, **options)
            notebook = nbformat.read(partial, as_version=4)
            write_values(notebook, parameters)
            check_outputs(notebook)
            attribute(notebook, noted(Path(folder) / LOOKUPS), parameters)
            notebook.metadata[OURS] = {DIGEST: made_of}
            nbformat.write(notebook, partial)
            partial.replace(target)
        except (PapermillExecutionError, CellTimeoutError, DeadKernelError, MendableError) as error:
            why = _in_words(error, counted=bool(parameters), timeout=timeout)
            raise NotebookError(f"{source}: {why}; {target} was not written") from error
        finally:
            partial.unlink(missing_ok=True)
    return True


def _settings(folder: Path) -> dict[str, str]:
    """The environment of a kernel: none of the user's settings of IPython and matplotlib, absolute folders of ours."""
    return {
        LOOKUPS: str(folder / LOOKUPS),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONSTARTUP": "",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": f"{matplotlib.get_data_path()}/matplotlibrc",
        "VAELIB_CACHE": str(cache_folder()),
    } | ({"VAELIB_DATA": str(Path(data).expanduser().resolve())} if (data := os.environ.get("VAELIB_DATA")) else {})


def _in_words(error: Exception, *, counted: int, timeout: int) -> str:
    match error:
        case PapermillExecutionError():  # papermill's own cell of parameters was counted
            number, lines = error.exec_count - counted, "\n".join(error.traceback)
            return f"its cell {number} raised {error.ename}: {error.evalue}\n{lines}"
        case CellTimeoutError():
            return f"a cell took longer than {timeout} seconds (--timeout, in make TIMEOUT=SECONDS, gives it longer)"
        case DeadKernelError():
            return "its kernel died, perhaps for want of memory"
    return f"its {error}"


def check_parameters(source: Path, parameters: dict[str, Any]) -> None:
    """Raise unless the cell of parameters sets each of these, to a value of its type (an integer is a number too)."""
    known = papermill.inspect_notebook(str(source))
    cell = f"{source}: its cell tagged {PARAMETERS_TAG!r}"
    if unknown := sorted(parameters.keys() - known.keys()):
        raise NotebookError(f"{cell} does not set {', '.join(unknown)}; it sets {', '.join(known) or 'nothing'}")
    for name, value in parameters.items():
        default = literal_eval(known[name]["default"])
        if type(value) not in ({int, float} if isinstance(default, float) else {type(default)}):
            raise NotebookError(f"{cell} sets {name} to {default!r}, and {value!r} is of another type")


def write_values(notebook: NotebookNode, parameters: dict[str, Any]) -> None:
    """Put the values into the cell of parameters and drop the cell that papermill injected.

    The page then shows the values that it was computed with, once, and has the same cells as its source.
    """
    notebook.cells = [cell for cell in notebook.cells if INJECTED_TAG not in cell.metadata.get("tags", [])]
    cell = next(cell for cell in notebook.cells if PARAMETERS_TAG in cell.metadata.get("tags", []))
    for name, value in parameters.items():
        assignment = re.compile(rf"^({name}\s*(?::[^=]*)?=\s*)[^#\n]*?(\s*(?:#.*)?)$", re.MULTILINE)
        literal = PythonTranslator.translate(value).replace("\\", r"\\")  # in a template of `re`
        cell.source, found = assignment.subn(rf"\g<1>{literal}\g<2>", cell.source)
        if found != 1:
            raise NotebookError(f"cell tagged {PARAMETERS_TAG!r} must set {name} once, on a line of its own")


def typed(text: str) -> Any:
    """A parameter from the command line: a number, True, False, None or the text, as papermill's own decides."""
    from papermill.cli import _resolve_type  # here, as this module looks at standard input when it is imported

    return _resolve_type(text)


def check_outputs(notebook: NotebookNode) -> None:
    """Raise if a cell stored an error, or is to make a figure and shows no picture: Jupyter Book would publish it."""
    for index, cell in enumerate(notebook.cells):
        outputs, figure = cell.get("outputs", []), cell.metadata.get("mystnb", {}).get("figure")
        if any(output.output_type == "error" for output in outputs):
            raise NotebookError(f"cell {index} holds an error output")
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
