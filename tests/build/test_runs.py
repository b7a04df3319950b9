r"""A notebook is executed as it is, under settings of its own, if and only if something that it depends on changed."""

import ast
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from machines import in_namespace, notebook, script
from typer.testing import CliRunner

from vaelib.build import notebooks
from vaelib.build.cli import app
from vaelib.build.notebooks import NotebookError, copy, out_of_date, run
from vaelib.study import reach

GIVEN = {"profile": "quick", "seed": 0}
DRAW = "import matplotlib.pyplot as plt\nplt.plot([1])\nNone"


def test_a_run_of_a_notebook_that_was_killed_leaves_no_page_and_can_be_repeated(tmp_path):
    source = notebook(tmp_path, "import os, time\nif not os.path.exists('again'): time.sleep(60)")
    target = tmp_path / "run" / "page.ipynb"
    code = "from vaelib.build.cli import app; app()"
    process = subprocess.Popen([sys.executable, "-c", code, "notebook", "run", str(source), str(target)])
    while not (target.parent / "started").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert not target.exists()
    (target.parent / "again").touch()
    run(source, target, parameters={"profile": "quick"}, timeout=60)
    assert target.exists() and {file.name for file in target.parent.iterdir()} == {"page.ipynb", "started", "again"}


def test_a_notebook_is_run_without_a_network(tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    body = f"""
        from vaelib.build.cli import app
        app(["notebook", "run", {str(notebook(tmp_path))!r}, {str(target)!r}])
    """
    said = subprocess.run([*in_namespace("true"), *script(body)], capture_output=True, text=True)
    assert target.exists(), said.stderr


def notebook_run(source: Path, target: Path, *options: str):
    """What `vaelib notebook run` gives."""
    return CliRunner(env={"NO_COLOR": "1"}).invoke(app, ["notebook", "run", str(source), str(target), *options])


def test_a_notebook_that_raises_is_named_with_its_cell_and_what_it_said(tmp_path):
    source, target = notebook(tmp_path, "1 / 0"), tmp_path / "run" / "page.ipynb"
    target.parent.mkdir()
    target.write_text("the page of before")
    with pytest.raises(NotebookError, match=r"(?s)page.ipynb: its cell 3 raised ZeroDivisionError.*was not written"):
        run(source, target, parameters={}, timeout=60)
    assert target.read_text() == "the page of before"
    assert {file.name for file in target.parent.iterdir()} == {"page.ipynb", "started"}


def test_what_a_notebook_said_is_shown_as_it_is(tmp_path):
    result = notebook_run(notebook(tmp_path, "raise KeyError('[a] [/b]')"), tmp_path / "run" / "page.ipynb")
    assert result.exit_code == 1 and "its cell 3 raised KeyError: '[a] [/b]'" in result.output


@pytest.mark.parametrize(
    ("source", "message"),
    [("import time; time.sleep(60)", "took longer than 1 seconds"), ("import os; os._exit(1)", "its kernel died")],
)
def test_a_notebook_that_hangs_or_dies_is_named_with_what_to_do(source, message, tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    with pytest.raises(NotebookError, match=f"page.ipynb: .*{message}.*was not written"):
        run(notebook(tmp_path, source), target, parameters={}, timeout=1)
    assert not target.exists()


def test_an_unknown_parameter_is_refused_beside_those_that_there_are(tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    result = notebook_run(notebook(tmp_path), target, "-p", "seed=1", "-p", "sed=1")
    assert result.exit_code == 1
    assert (
        "does not set sed; it sets profile, seed, rate, noisy, title" in result.output
        and "Traceback" not in result.output
    )
    assert not target.parent.exists(), "the notebook was started"


@pytest.mark.parametrize("text", ["seed", "=1", "a b=1", ""])
def test_what_sets_no_parameter_is_refused(text, tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    result = notebook_run(notebook(tmp_path), target, "--parameter", text)
    assert result.exit_code == 2 and "sets no parameter, as seed=1 does" in result.output
    assert not target.parent.exists(), "the notebook was started"


@pytest.mark.parametrize("text", ["seed=1.5", "seed=one", "seed=None", "seed=", "profile=1", "rate=True", "noisy=1"])
def test_a_parameter_of_another_type_is_refused(text, tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    result = notebook_run(notebook(tmp_path), target, "-p", text)
    assert result.exit_code == 1 and "of another type" in result.output
    assert not target.parent.exists(), "the notebook was started"


def test_parameters_have_their_types_override_the_options_and_are_shown_on_the_page(tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    given = {"title": "a\"b'\\1=#", "seed": 12, "rate": -2, "noisy": True}
    options = [option for name, value in given.items() for option in ("--parameter", f"{name}={value}")]
    source = notebook(tmp_path, "print([title, seed, rate, noisy])")
    result = notebook_run(source, target, "--seed", "7", *options)
    assert result.exit_code == 0, result.output
    page = nbformat.read(target, as_version=4)
    assert ast.literal_eval(page.cells[-1].outputs[0].text) == list(given.values())
    shown = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(page.cells[0].source).body}
    assert shown == {"profile": "quick"} | given


@pytest.mark.parametrize("text", ["profile=fulll", "seed=-1", "seed=99999999999999999999"])
def test_a_profile_or_a_seed_that_there_is_not_is_refused_in_one_line(text, tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    result = notebook_run(notebook(tmp_path), target, "-p", text)
    assert result.exit_code == 1 and "takes a profile (quick, full, fashion) and a seed" in result.output
    assert not target.parent.exists(), "the notebook was started"


# The user's settings


ASKED = """
import matplotlib, os, sys, torch
shell = get_ipython()
print(sys.prefix, matplotlib.rcParams['font.size'], 'started' in globals(), torch.get_default_dtype(), __debug__)
print(all(os.environ['IPYTHONDIR'] in place or place == os.getcwd() for place in shell.parent.parent.config_file_paths))
"""


def test_the_settings_of_the_user_do_not_reach_the_kernel(tmp_path, monkeypatch):
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "0.py").write_text("started = True\nimport torch\ntorch.set_default_dtype(torch.float64)")
    options = (
        "c = get_config()\nc.InlineBackend.figure_formats = {'svg'}\nc.InteractiveShell.ast_node_interactivity = 'all'"
    )
    (profile / "ipython_kernel_config.py").write_text(options)
    (tmp_path / "matplotlibrc").write_text("font.size: 30")
    (tmp_path / "startup.py").write_text("started = True")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "matplotlib.py").write_text("raise SystemExit('another package')")
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    gone = {"argv": ["/gone/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    (kernel / "kernel.json").write_text(json.dumps(gone | {"display_name": "x", "language": "python"}))
    deep = tmp_path / ("temporary" * 12)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    for name, value in {
        "MPLBACKEND": "Agg",
        "IPYTHONDIR": tmp_path / "ipython",
        "MATPLOTLIBRC": tmp_path / "matplotlibrc",
        "MPLCONFIGDIR": "/proc/nowhere",
        "HOME": "/proc/nowhere",
        "JUPYTER_CONFIG_DIR": "/proc/nowhere",
        "JUPYTER_RUNTIME_DIR": "/proc/nowhere",
        "JUPYTER_DATA_DIR": tmp_path / "jupyter",
        "JUPYTER_PATH": tmp_path / "jupyter",
        "PYTHONSTARTUP": tmp_path / "startup.py",
        "PYTHONPATH": tmp_path / "packages",
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "Pacific/Kiritimati",
    }.items():
        monkeypatch.setenv(name, str(value))
    target = tmp_path / "run" / "page.ipynb"
    run(notebook(tmp_path, ASKED, DRAW), target, parameters=GIVEN, timeout=120)
    *_, told, drawn = nbformat.read(target, as_version=4).cells
    assert told.outputs[0].text == f"{sys.prefix} 10.0 False torch.float32 True\nTrue\n"
    assert [output.data.keys() & {"image/png", "image/svg+xml"} for output in drawn.outputs] == [{"image/png"}]


@pytest.mark.parametrize("cell", ["import warnings; warnings.warn('old')", "import sys; print('old', file=sys.stderr)"])
def test_a_cell_that_says_something_beside_its_results_ends_the_run_with_its_name(cell, tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    with pytest.raises(NotebookError, match=r"(?s)page.ipynb: its cell 2 printed to standard error.*old.*not written"):
        run(notebook(tmp_path, cell), target, parameters={}, timeout=60)
    assert not target.exists()


def test_what_a_cell_prints_is_one_text_however_busy_the_machine_is(tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    pieces = "import sys\nfor n in range(3):\n    print(n)\n    sys.stdout.flush()"
    run(notebook(tmp_path, pieces), target, parameters={}, timeout=60)
    assert [output.text for output in nbformat.read(target, as_version=4).cells[-1].outputs] == ["0\n1\n2\n"]


# What is out of date


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A notebook that reads a function of this package, and a stand-in for its execution."""
    source, target = notebook(tmp_path, "from vaelib import plots\nplots.vae_graph()"), tmp_path / "run" / "page.ipynb"
    ran = []

    def papermill(given, made, **options):
        ran.append(given)
        Path(made).write_text(Path(given).read_text())

    monkeypatch.setattr("papermill.execute_notebook", papermill)
    run(source, target, parameters=GIVEN, timeout=1)
    assert len(ran) == 1
    return {source: target}


def test_what_was_executed_is_up_to_date(executed):
    assert not out_of_date(executed, GIVEN)


@pytest.mark.parametrize("change", ["cell", "declared", "parameters", "code", "results", "version"])
def test_what_a_notebook_depends_on_puts_it_out_of_date(change, executed, monkeypatch):
    (source,) = executed
    page = nbformat.read(source, as_version=4)
    given = GIVEN
    match change:
        case "cell":
            page.cells[-1].source += "\n"
        case "declared":
            page.cells[-1].metadata["vaelib"] = {"made_from": []}
        case "parameters":
            given = GIVEN | {"seed": 1}
        case "code":
            monkeypatch.setattr(reach, "source_digest", lambda source: "another")
        case "results":
            (source.parent / "results").mkdir()
            (source.parent / "results" / "full.json").write_text("{}")
        case "version":
            monkeypatch.setattr(notebooks, "version", lambda name: "0")
    nbformat.write(page, source)
    assert out_of_date(executed, given) == executed


@pytest.mark.parametrize("part", ["outputs", "execution_count", "provenance", "of the notebook"])
def test_what_a_run_writes_into_a_notebook_does_not_put_it_out_of_date(part, executed):
    (source,) = executed
    page = nbformat.read(source, as_version=4)
    match part:
        case "outputs":
            page.cells[-1].outputs = [nbformat.v4.new_output("stream", text="x")]
        case "execution_count":
            page.cells[-1].execution_count = 7
        case "provenance":
            page.cells[-1].metadata["vaelib"] = {"models": {}, "parameters": {}}
        case "of the notebook":
            page.metadata["x"] = 1
    nbformat.write(page, source)
    assert not out_of_date(executed, GIVEN)


# The copy of the book


def test_the_copy_has_the_pages_of_the_table_of_contents_and_all_other_files(tmp_path):
    book, target = tmp_path / "book", tmp_path / "run" / "book"
    kept = ["one.ipynb", "two.md", "results/full.json", "_static/a b.css"]
    for name in [
        *kept,
        "my notes.md",
        "one (1).ipynb",
        "100%.md",
        "one-Copy1.ipynb",
        ".hidden",
        "_ext/__pycache__/x.pyc",
    ]:
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text(name)
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: book/two\nchapters:\n  - file: book/one\n  - file: book/gone\n")
    (target / "_generated").mkdir(parents=True)
    for name in ("_generated/data.md", "old.md"):
        (target / name).write_text("before")
    assert copy(book, target, toc=toc) == {book / "one.ipynb": target / "one.ipynb"}
    there = {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}
    assert there == {*kept[1:], "_generated/data.md"}
    (target / "one.ipynb").write_text("executed")
    before = (target / "two.md").stat().st_mtime_ns
    copy(book, target, toc=toc)
    assert (target / "one.ipynb").read_text() == "executed" and (target / "two.md").stat().st_mtime_ns == before


def test_a_book_is_executed_as_far_as_it_can_be_and_each_failure_is_named(tmp_path):
    book, target = tmp_path / "book", tmp_path / "run"
    for name, cell in (("good", "1"), ("bad", "1 / 0")):
        (book / name).mkdir(parents=True)
        notebook(book / name, cell)
    toc = tmp_path / "_toc.yml"
    toc.write_text("file: book/good/page\nfile: book/bad/page\n")
    result = notebook_run(book, target, "--toc", str(toc), "--jobs", "1")
    assert result.exit_code == 1, result.output
    assert "2 notebooks, 0 up to date" in result.output and "1 of 2 notebooks failed" in result.output
    assert "bad/page.ipynb: its cell 3" in result.output and "bad/page.ipynb: 0 s" not in result.output
    assert "its cell 3 raised ZeroDivisionError" in result.output
    assert (target / "good" / "page.ipynb").exists() and not (target / "bad" / "page.ipynb").exists()
    assert "2 notebooks, 1 up to date" in notebook_run(book, target, "--toc", str(toc), "--jobs", "1").output
