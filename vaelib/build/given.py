r"""What a user gives on the command line, looked at before anything starts: seeds, notebooks, places to write to."""

import ast
import os
import re
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import typer

from vaelib.errors import MendableError

#: More in one list are a slip of the pen.
MAX_SEEDS = 10_000


class GivenError(MendableError, ValueError):
    """A file or folder that was named is not what it should be; the message says what it is."""


def device(name: str) -> None:
    """Refuse a device that cannot be computed on."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise typer.BadParameter(f"device {name!r} cannot be used here ({reason}); try cpu") from None


def seeds(text: str) -> list[int]:
    """Seeds from a text such as 0-19 or 0,3,7-9."""
    found = [re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip()) for part in text.split(",")]
    ranges = [range(int(ends[1]), int(ends[2] or ends[1]) + 1) for ends in found if ends]
    listed = [seed for few in ranges for seed in few[: MAX_SEEDS + 1]]
    if None in found or not 0 < len(set(listed)) == len(listed) <= MAX_SEEDS:
        raise typer.BadParameter(f"{text!r} is no list of seeds such as 0-19 or 0,3,7-9")
    return listed


def listed(text: str | None, known: Collection[str]) -> list[str]:
    """Names from a text such as fair,ladder; all that are known where there is none."""
    found = list(known) if text is None else [part.strip() for part in text.split(",")]
    if wrong := [name for name in found if name not in known]:
        raise typer.BadParameter(f"{wrong[0]!r} is none of {', '.join(known)}")
    return found


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Names and values from texts such as seed=1; the last of a name counts, and what is no literal is a text."""
    from vaelib.build.notebooks import typed

    found = {text: re.fullmatch(r"(\w+)=(.*)", text) for text in texts}
    if wrong := [text for text, parts in found.items() if not parts]:
        raise typer.BadParameter(f"{wrong[0]!r} sets no parameter, as seed=1 does")
    return {parts[1]: typed(parts[2]) for parts in found.values() if parts}


def place(path: Path) -> None:
    """Raise `GivenError` unless a file can be written there."""
    if os.fsencode(path.absolute()).decode(errors="replace") != str(path.absolute()):
        raise GivenError(f"the name {str(path.absolute())!r} is no text in UTF-8; name another place")
    if path.is_dir():
        raise GivenError(f"{path} is a folder; name a file")
    there = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not there.is_dir():
        raise GivenError(f"{path} cannot be written, for {there} is no folder; name another place")
    if not os.access(path if path.exists() else there, os.W_OK):
        raise GivenError(f"{path} cannot be written, for want of permission; name another place")


def notebook(path: Path) -> Any:
    """A notebook, which is read; raises `GivenError` for any other file."""
    import nbformat

    try:
        found = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(found)
    except OSError as error:
        raise GivenError(f"{path} cannot be read ({error.strerror})") from error
    except (AttributeError, KeyError, TypeError, ValueError, nbformat.ValidationError) as error:
        reason = (str(error).splitlines() or [""])[0][:100]
        raise GivenError(f"{path} is no notebook ({reason}); restore or remove it, or name another") from error
    if found.nbformat != nbformat.current_nbformat:
        raise GivenError(f"{path} is of format {found.nbformat}; jupyter nbconvert --to notebook writes format 4")
    return found


def with_code(path: Path) -> list[Any]:
    """The code cells of a notebook; raises `GivenError` where there are none, or one is no Python."""
    from IPython.core.inputtransformer2 import TransformerManager

    cells = [cell for cell in notebook(path).cells if cell.cell_type == "code"]
    if not cells:
        raise GivenError(f"{path} holds no cell of code")
    for number, cell in enumerate(cells, start=1):
        try:
            ast.parse(TransformerManager().transform_cell(cell.source))
        except (SyntaxError, ValueError) as error:
            raise GivenError(f"{path}: its code cell {number} cannot be read ({error}); mend that cell") from error
    return cells


def _runnable(path: Path) -> None:
    """Raise `GivenError` for a notebook whose code cannot be read, or whose parameters are no plain values."""
    from vaelib.build.notebooks import PARAMETERS_TAG

    for cell in with_code(path):
        if PARAMETERS_TAG in cell.metadata.get("tags", []):
            for line in ast.parse(cell.source).body:
                try:
                    ast.literal_eval(getattr(line, "value", None) or "0")
                except ValueError as error:
                    raise GivenError(
                        f"{path}: {ast.unparse(line)!r} in its cell of parameters is no plain value; write one there"
                    ) from error


def pages(source: Path, target: Path, *, toc: Path) -> dict[Path, Path]:
    """The notebooks of a book, of which `target` becomes a copy, or the notebook `source`, and where each is executed.

    Raises `GivenError` where one cannot be read or run, or cannot be written.
    """
    from vaelib.build.notebooks import copy

    found = {source: target}
    if source.is_dir():
        _place_of_a_copy(source, target)
        try:
            found = copy(source, target, toc=toc)
        except (OSError, UnicodeDecodeError) as error:
            raise GivenError(f"{source} cannot be copied to {target} as {toc} says ({error})") from error
        if not found:
            raise GivenError(f"{toc} names no notebook in {source}; --toc names the table of contents")
    for one, executed in found.items():
        _runnable(one)
        place(executed)
        if executed.exists():
            notebook(executed)
    return found


def _place_of_a_copy(book: Path, target: Path) -> None:
    """Raise `GivenError` where a copy would remove what no copy put there: all files that are not the book's go."""
    from vaelib.build.notebooks import GENERATED

    place(target / "book")
    one, other = book.resolve(), target.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise GivenError(f"{target} and {book} lie in one another; name another folder")
    ours = {file.relative_to(book) for file in book.rglob("*")}
    there = (file.relative_to(target) for file in target.rglob("*") if file.is_file())
    others = [name for name in there if name.with_name(name.name.removeprefix(".")) not in ours]
    if others and not (target / GENERATED).is_dir():
        raise GivenError(f"{target} holds {others[0]}, which a copy of the book would remove; name another folder")


def repository(project: Path) -> str | None:
    """The address that a `pyproject.toml` declares as its repository."""
    try:
        urls = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {})
        return str(urls["Repository"]) if "Repository" in urls else None
    except OSError as error:
        raise GivenError(f"{project} cannot be read ({error.strerror}); --project names it") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise GivenError(f"{project} describes no project ({error!r:.100}); --project names one that does") from error
