r"""What the build does with notebooks: run one with parameters, and store a run's outputs in the committed file."""

import logging
import os
import re
from ast import literal_eval
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator
from traitlets.config import Config

from vaelib.errors import MendableError
from vaelib.study import lineage

KERNEL = "python3"
PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
#: The part of a figure cell's metadata that says what the figure was computed from.
PROVENANCE = "vaelib"
#: Notebooks do not look up the classifier; who reads one of these fields of `vaelib.study.measurements.Reference` uses it.
CLASSIFIER = "classifier"
CLASSIFIED = (
    "test_accuracy",
    "frechet_train",
    "precision_train",
    "recall_train",
    "frechet_noise",
    "frechet_blur",
    "precision_noise",
    "label_change_blur",
)

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
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
    },
}


class NotebookError(MendableError, RuntimeError):
    """A notebook that the book cannot hold."""


def run(source: Path, target: Path, *, parameters: dict[str, Any], timeout: int) -> None:
    """Execute `source` in the folder of `target` and write `target`, all of it or nothing.

    The metadata of each cell that makes a figure say which models it was computed from (`attribute`).

    Raises `NotebookError` for a parameter that its cell of parameters does not set or sets to a value of another type,
    and where a cell raises, takes more than `timeout` seconds or ends the kernel.
    """
    check_parameters(source, parameters)
    target.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    partial = target.with_name(f".{target.name}")  # hidden, so that Jupyter Book never takes it for a page
    # The kernel is spoken to through files rather than ports: it needs no network, not even the machine's own.
    with TemporaryDirectory() as sockets, lineage.recorded(Path(sockets) / "lookups") as lookups:
        try:
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=parameters,
                kernel_name=KERNEL,
                cwd=str(target.parent),
                execution_timeout=timeout,
                progress_bar=False,
                config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
            )
            notebook = nbformat.read(partial, as_version=4)
            write_values(notebook, parameters)
            refuse_errors(notebook)
            attribute(notebook, lineage.notes(lookups), parameters)
            nbformat.write(notebook, partial)
            partial.replace(target)
        except PapermillExecutionError as error:
            number = error.exec_count - bool(parameters)  # papermill's own cell of parameters was counted
            raise NotebookError(
                f"{source}: its cell {number} raised {error.ename}: {error.evalue}\n"
                + "\n".join(error.traceback)
                + f"\n{target} was not written; mend what is said above and run the same command again"
            ) from error
        except CellTimeoutError as error:
            raise NotebookError(
                f"{source}: a cell took longer than {timeout} seconds; {target} was not written; give it longer with "
                "--timeout (make: TIMEOUT=SECONDS)"
            ) from error
        except DeadKernelError as error:
            raise NotebookError(
                f"{source}: its kernel died, perhaps for want of memory; {target} was not written; run the same "
                "command again"
            ) from error
        finally:
            partial.unlink(missing_ok=True)


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
            raise NotebookError(f"its cell tagged {PARAMETERS_TAG!r} must set {name} once, on a line of its own")


def typed(text: str) -> Any:
    """A parameter from the command line: a number, True, False, None or the text, as papermill's own decides."""
    from papermill.cli import _resolve_type  # here, as this module looks at standard input when it is imported

    return _resolve_type(text)


def attribute(notebook: NotebookNode, lookups: Sequence[lineage.Note], parameters: dict[str, Any]) -> None:
    """Say in the metadata of each cell that makes a figure which models it was computed from, and how it was run.

    The models are grouped by profile and name, with their seeds as a text such as 0-2.
    """
    executed = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.execution_count]
    python = TransformerManager()
    found = lineage.follow(
        ((cell.execution_count, python.transform_cell(cell.source)) for cell in executed),
        lookups,
        attributes={name: lineage.Model(CLASSIFIER, str(parameters.get("profile")), 0) for name in CLASSIFIED},
    )
    for cell in executed:
        cell.metadata.pop(PROVENANCE, None)
        if makes_figure(cell):
            seeds: dict[str, dict[str, list[int]]] = {}
            for model in found[cell.execution_count]:
                seeds.setdefault(model.profile, {}).setdefault(model.name, []).append(model.seed)
            models = {
                profile: {name: lineage.seed_ranges(of) for name, of in sorted(names.items())}
                for profile, names in sorted(seeds.items())
            }
            cell.metadata[PROVENANCE] = {"models": models, "parameters": dict(parameters)}


def makes_figure(cell: NotebookNode) -> bool:
    """Whether a cell's metadata give its output a caption and a number, or its output is interactive, that is HTML."""
    return "figure" in cell.metadata.get("mystnb", {}) or any(
        "text/html" in output.get("data", {}) for output in cell.outputs
    )


def refuse_errors(notebook: NotebookNode) -> None:
    """Raise if a cell stored an error: Jupyter Book would publish it and exit with 0."""
    for index, cell in enumerate(notebook.cells):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            raise NotebookError(f"its cell {index} holds an error output")


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
            cell.metadata.pop(PROVENANCE, None)
            if PROVENANCE in result.metadata:
                cell.metadata[PROVENANCE] = result.metadata[PROVENANCE]
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
