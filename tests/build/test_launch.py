r"""A notebook opened on Binder or Colab installs the library; a site whose repository nobody knows offers neither."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from sphinx.errors import ConfigError

from vaelib.build.notebooks import INSTALL_ID, install_source, write_install_cell

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
ADDRESS = "https://github.com/someone/book"


@pytest.fixture
def book_site(monkeypatch):
    """The extension of the book."""
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import book_site

    return book_site


@pytest.fixture
def checkout(tmp_path):
    """Make a checkout with this remote and this declared address."""

    def make(*, origin="", declared=""):
        urls = f'[project.urls]\nRepository = "{declared}"\n' if declared else ""
        (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\n{urls}')
        if origin:
            subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
            subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", origin], check=True)
        return tmp_path

    return make


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_each_notebook_begins_with_the_cell_that_installs_the_library_out_of_sight(path):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert first.id == INSTALL_ID
    assert first.source == install_source(urls.get("Repository")), "run: vaelib notebook install-cell book/*.ipynb"
    assert first.metadata.tags == ["remove-cell"]


def test_the_cell_is_written_once_and_outputs_are_counted_anew(tmp_path):
    path = tmp_path / "a.ipynb"
    cell = nbformat.v4.new_code_cell("1", execution_count=1, id="one")
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A", id="a"), cell]), path)
    assert write_install_cell(path, None)
    assert not write_install_cell(path, None)
    assert write_install_cell(path, ADDRESS)
    title, install, one = nbformat.read(path, as_version=4).cells
    assert (title.id, install.id, one.id) == ("a", INSTALL_ID, "one")
    assert f"git clone --quiet --depth 1 {ADDRESS} " in install.source
    assert (install.execution_count, one.execution_count, one.outputs[0].execution_count) == (1, 2, 2)


@pytest.mark.parametrize("cloned", [False, True], ids=["in a checkout", "alone, with an address"])
def test_the_cell_installs_the_library_where_it_is_missing(tmp_path, cloned):
    """An environment that sees all packages of this one but the library, and no index."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "vaelib", copy / "vaelib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "book").mkdir()
    (copy / "book" / "table.json").touch()
    if cloned:
        git = ["git", "-C", copy, "-c", "user.name=x", "-c", "user.email=x@example.org"]
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
            subprocess.run([*git, *command], check=True)
    folder = tmp_path if cloned else copy / "book"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"))  # a .pth in there, the library's, is not read
    cell = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance().run_cell({!r}).raise_error()"
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | offline

    def run(code):
        return subprocess.run([python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)

    find = "import vaelib; print(vaelib.__file__)"
    assert "No module named 'vaelib'" in run(find).stderr
    source = install_source(copy.as_uri() if cloned else None) + "\nassert Path('table.json').is_file()"
    said = run(cell.format(source))
    assert said.returncode == 0, said.stderr
    assert run(find).stdout.startswith(str(site)), said.stdout + said.stderr


@pytest.mark.parametrize("repository", [None, ADDRESS])
def test_the_cell_does_nothing_where_the_library_is(repository):
    called = []
    shell = InteractiveShell()
    shell.register_magic_function(called.append, magic_name="pip")
    shell.system = called.append
    shell.run_cell(install_source(repository)).raise_error()
    assert not called


@pytest.mark.parametrize(
    "form",
    [
        "https://github.com/someone/book",
        "https://github.com/someone/book.git",
        "https://x:secret@github.com/someone/book.git",
        "git@github.com:someone/book.git",
        "ssh://git@github.com/someone/book/",
    ],
)
def test_every_form_of_an_address_on_github_is_one_address(book_site, form):
    assert book_site.github(form) == ADDRESS


@pytest.mark.parametrize("form", ["", "/srv/book", "https://example.org/someone/book", "https://github.com/someone"])
def test_other_addresses_are_none(book_site, form):
    assert book_site.github(form) is None


def test_the_address_is_that_of_the_environment_else_of_the_remote_else_declared(book_site, checkout):
    def other(name):
        return f"https://github.com/other/{name}"

    root = checkout(origin=f"{ADDRESS}.git", declared=other("declared"))
    actions = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "other/actions"}
    assert book_site.repository({"BOOK_REPOSITORY": other("given"), **actions}, root) == other("given")
    assert book_site.repository(actions, root) == other("actions")
    assert book_site.repository({}, root) == ADDRESS
    subprocess.run(["git", "-C", root, "remote", "remove", "origin"], check=True)
    assert book_site.repository({}, root) == other("declared")


def test_a_repository_around_the_checkout_or_named_by_the_environment_has_no_say(book_site, checkout, monkeypatch):
    around = checkout(origin=f"{ADDRESS}.git")
    inside = around / "book-1.0"
    inside.mkdir()
    (inside / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert book_site.repository({}, inside) is None
    monkeypatch.setenv("GIT_DIR", str(around / ".git"))
    assert book_site.repository({}, inside) is None
    subprocess.run(["git", "init", "--quiet", inside], check=True, env={"PATH": os.environ["PATH"]})
    assert book_site.repository({}, inside) is None
    assert book_site.repository({}, around) == ADDRESS


def test_without_an_address_there_are_no_buttons(book_site, checkout):
    assert book_site.theme_options({}, checkout()).keys() == {"article_header_start"}


def test_colab_is_offered_only_if_the_notebooks_know_the_address(book_site, checkout):
    given = {"BOOK_REPOSITORY": ADDRESS}
    assert book_site.theme_options(given, checkout())["launch_buttons"].keys() == {
        "notebook_interface",
        "binderhub_url",
    }
    assert "colab_url" in book_site.theme_options(given, checkout(declared=ADDRESS))["launch_buttons"]


def test_an_address_that_is_none_is_refused(book_site, checkout):
    with pytest.raises(ConfigError, match="BOOK_REPOSITORY is 'nowhere'"):
        book_site.repository({"BOOK_REPOSITORY": "nowhere"}, checkout())


def test_binder_has_what_conda_has_and_installs_the_library_as_environment_yml_says():
    command = "pip install --no-deps --no-build-isolation -e ."
    assert os.access(ROOT / "postBuild", os.X_OK)
    assert command in (ROOT / "postBuild").read_text()
    assert command in (ROOT / "environment.yml").read_text()
    assert not [name for name in ("binder", ".binder") if (ROOT / name).exists()], "Binder would read only that folder"
    assert yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
