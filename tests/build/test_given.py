r"""Whatever a user gives on the command line: what is wrong is said in a line or two before anything starts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from machines import notebook
from typer.testing import CliRunner

from vaelib.build import notebooks
from vaelib.build.cli import app

ROOT = Path(__file__).parents[2]
PARAMETERS = ("profile = 'quick'\nseed = 0", {"tags": ["parameters"]})


def made(*cells):
    """A notebook with cells of code, as text."""
    code = [nbformat.v4.new_code_cell(source, metadata=metadata) for source, metadata in cells]
    return nbformat.writes(nbformat.v4.new_notebook(cells=code))


def changed(**parts):
    """A notebook one part of which is another, or missing, as text."""
    content = json.loads(made(PARAMETERS)) | parts
    return json.dumps({name: part for name, part in content.items() if part is not None})


FILES = {
    "words.ipynb": "words",
    "empty.ipynb": "",
    "bytes.ipynb": bytes(range(256)),
    "latin.ipynb": made(("'\u00e4'", {})).replace("\\u00e4", "\u00e4").encode("latin-1"),
    "list.ipynb": "[]",
    "object.ipynb": "{}",
    "bare.ipynb": changed(metadata=None),
    "count.ipynb": changed(cells=3),
    "kind.ipynb": changed(cells=[{"cell_type": "martian", "source": "1", "metadata": {}, "id": "a"}]),
    "old.ipynb": json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": []}]}),
    "new.ipynb": changed(nbformat=9),
    "prose.ipynb": changed(cells=[]),
    "syntax.ipynb": made(PARAMETERS, ("def (", {})),
    "call.ipynb": made(("profile = 'quick'\nseed = int()", {"tags": ["parameters"]})),
    "none.toml": "",
    "number.toml": "project = 3",
    "no.toml": "no project",
    "file": "x",
    "results/full.json": bytes(range(256)),
    "mine/letter.txt": "keep me",
    "toc.yml": "root: book/none\n",
}
NO_NOTEBOOK = r"is no notebook \(.*\); restore or remove it, or name another"

#: What is given, and what is said; `{}` is the folder of the files above.
WRONG = [
    *((f"notebook run {{}}/{name}.ipynb {{}}/out.ipynb", NO_NOTEBOOK) for name in ("words", "empty", "bytes", "latin")),
    *((f"notebook run {{}}/{name}.ipynb {{}}/out.ipynb", NO_NOTEBOOK) for name in ("list", "object", "bare", "count")),
    *((f"notebook run {{}}/{name}.ipynb {{}}/out.ipynb", NO_NOTEBOOK) for name in ("kind", "new")),
    ("notebook run {}/old.ipynb {}/out.ipynb", "is of format 3; jupyter nbconvert"),
    ("notebook run {}/prose.ipynb {}/out.ipynb", "holds no cell of code"),
    ("notebook run {}/syntax.ipynb {}/out.ipynb", "code cell 2 cannot be read .*mend that cell"),
    ("notebook run {}/call.ipynb {}/out.ipynb", r"seed = int\(\)' in its cell of parameters is no plain value"),
    ("notebook run {}/none.ipynb {}/out.ipynb", "does not exist"),
    ("notebook run {}/page.ipynb {}/mine", "is a folder; name a file"),
    ("notebook run {}/page.ipynb {}/file/out.ipynb", "cannot be written, for .*file is no folder"),
    ("notebook run {}/page.ipynb {}/words.ipynb", NO_NOTEBOOK),
    ("notebook run {}/page.ipynb {}/out.ipynb -p seed", "'seed' sets no parameter"),
    ("notebook run {book} {}/file --toc {toc}", "file is no folder"),
    ("notebook run {book} {}/mine --toc {toc}", "holds letter.txt, which a copy of the book would remove"),
    ("notebook run {book} {book} --toc {toc}", "lie in one another"),
    ("notebook run {book} {}/copy --toc {}/none.yml", r"as \S+none.yml says \(.*No such file"),
    ("notebook run {book} {}/copy --toc {}/mine", "Is a directory"),
    ("notebook run {book} {}/copy --toc {}/bytes.ipynb", "cannot be copied"),
    ("notebook run {book} {}/copy --toc {}/toc.yml", "toc.yml names no notebook"),
    ("notebook store {}/page.ipynb {}/bytes.ipynb", NO_NOTEBOOK),
    ("notebook store {}/count.ipynb {}/page.ipynb", NO_NOTEBOOK),
    ("notebook store {}/mine {}/page.ipynb", "is a directory"),
    ("notebook picture {}/latin.ipynb fig {}/out.png", NO_NOTEBOOK),
    ("notebook picture {}/page.ipynb fig {}/out.png", "holds no picture of 'fig'"),
    ("notebook picture {}/page.ipynb fig {}/mine", "is a folder; name a file"),
    ("notebook picture {}/page.ipynb fig {}/file/out.png", "cannot be written"),
    ("notebook picture {book}/5_4_issues.ipynb fig-planes-beta {}/none/out.png", "cannot be used .No such file"),
    ("notebook install-cell {}/prose.ipynb --project {project}", "holds no cell of code"),
    ("notebook install-cell {}/list.ipynb --project {project}", NO_NOTEBOOK),
    *((f"notebook install-cell {{}}/page.ipynb --project {{}}/{name}.toml", "describes no project")
      for name in ("none", "number", "no")),
    ("notebook install-cell {}/page.ipynb --project {}/bytes.ipynb", "describes no project"),
    ("notebook install-cell {}/page.ipynb --project {}/nowhere.toml", "cannot be read .No such file"),
    ("report --output {}/file", "file cannot be used .File exists"),
    ("report --output {}/file/pages", "cannot be used .Not a directory"),
    ("report --output {}/pages --results {}/none", "none is no folder; the reference results are in book/results"),
    ("report --output {}/pages --results {}/results", "holds no results .*make reference REFERENCE=full"),
    ("claims {}/mine --profile quick --seeds 0", "is a folder; name a file"),
    ("claims {}/file/full.json --profile quick --seeds 0", "cannot be written"),
    ("claims {}/full.json --seeds 3-1", "no list of seeds"),
    ("evidence {}/mine --profile quick --seeds 0", "is a folder; name a file"),
    ("evidence {}/quick.json --frames fair,none", "'none' is none of references, linear"),
    ("evidence {}/list.ipynb --profile quick", "holds no frames .*restore it, or remove it"),
    ("list --cache {}/file", "cannot use the cache .*it is no folder"),
    ("list --cache {}/loop", "cannot use the cache .*(loop|no folder)"),
    ("list --cache ~nobody-of-that-name/x", "cannot use the cache .*home directory"),
    ("show none", "no model is called 'none'"),
    ("train simple-d2 --cache {}/file/x", "cannot use the cache .*Not a directory"),
    ("train simple-d2 --device gpu", "device 'gpu' cannot be used here"),
    ("sweep simple-d2 --scheduler gopher://nowhere", "no dask scheduler answers"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files above, a notebook that is one, a link to itself; whatever executes a notebook fails."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    notebook(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr(notebooks, "run_all", lambda *given, **options: pytest.fail("started"))
    return tmp_path


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[given for given, _ in WRONG])
def test_what_is_wrong_is_said_before_anything_starts(given, message, folder):
    places = {"book": ROOT / "book", "toc": ROOT / "_toc.yml", "project": ROOT / "pyproject.toml"}
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    arguments = [part.format(folder, **places) for part in given.split()]
    result = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "1000"}).invoke(app, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    said = " ".join(re.sub("[\u2500-\u257f]", " ", result.output).split())  # without the box around it
    assert re.search(message, said), result.output
    assert len(said) < 2_000 and "Traceback" not in said
    assert {file: file.read_bytes() for file in before} == before


def test_a_copy_of_a_book_is_made_anew_even_if_its_first_making_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "run_all", lambda *given, **options: [])
    arguments = ["notebook", "run", str(ROOT / "book"), str(tmp_path / "copy"), "--toc", str(ROOT / "_toc.yml")]
    for _ in range(2):
        assert CliRunner().invoke(app, arguments).exit_code == 0
        (tmp_path / "copy" / ".5_2_visualization.ipynb").touch()  # what a killed run leaves
    assert not (tmp_path / "copy" / "index.ipynb").exists()
    assert (tmp_path / "copy" / "_generated").is_dir()
    (tmp_path / "copy" / "page-that-was-removed.md").touch()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "copy" / "page-that-was-removed.md").exists()


@pytest.mark.parametrize(
    ("name", "jobs", "code"),
    [("\u00e9 \U0001f408", 2, 0), ("two\nlines", 1, 0), ("[-p]", 1, 0), (os.fsdecode(b"\xff"), 1, 1)],
)
def test_a_notebook_of_any_name_is_run_and_named_in_any_encoding(name, jobs, code, tmp_path):
    source = notebook(tmp_path).rename(tmp_path / f"{name}.ipynb")
    run = [
        sys.executable,
        "-c",
        "from vaelib.build.cli import app; app()",
        "notebook",
        "run",
        source,
        tmp_path / name / "o",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    said = subprocess.run([*run, "--jobs", str(jobs)], env=environment, capture_output=True, text=True)
    assert said.returncode == code and "Traceback" not in said.stderr, said.stderr
    assert "no text in UTF-8" in said.stderr if code else (tmp_path / name / "o").is_file()
