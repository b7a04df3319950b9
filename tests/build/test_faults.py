r"""What happens on real machines: processes are killed, disks are full, networks are absent. Each is done for real."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import distributed
import nbformat
import psutil
import pytest
import torch
from typer.testing import CliRunner

from vaelib.build import jobs
from vaelib.build.cli import app
from vaelib.build.notebooks import NotebookError, run
from vaelib.study.classifier import ClassifierExperiment
from vaelib.study.trained import entry, fetch

#: A model that is trained in a second or two, and one that takes long enough to be killed.
TINY = ClassifierExperiment(name="tiny", purpose="a test", epochs=1)
LONGER = replace(TINY, name="longer", epochs=2, seed=1)
PREAMBLE = """
    import os, signal, sys
    from dataclasses import replace
    from vaelib.study import cache as store
    from vaelib.study.classifier import ClassifierExperiment
    from vaelib.errors import MendableError
    from vaelib.study.trained import entry, fetch
    TINY = ClassifierExperiment(name="tiny", purpose="a test", epochs=1)
    LONGER = replace(TINY, name="longer", epochs=2, seed=1)
"""


def script(body: str) -> list[str]:
    """The command that runs a few lines after the preamble."""
    return [sys.executable, "-c", textwrap.dedent(PREAMBLE) + textwrap.dedent(body)]


def missing(what: str):
    """Skip a test for want of something that a user's system may lack; where `CI` is true, let the test fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def in_namespace(*commands: str) -> list[str]:
    """The beginning of a command that runs after these, as root of a namespace of its own; see `missing`."""
    kinds = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
    before = " && ".join(commands)
    if not shutil.which("unshare"):
        missing("this system has no command unshare")
    tried = subprocess.run([*kinds, "sh", "-c", before], capture_output=True, text=True)
    if tried.returncode:
        missing(f"this system allows no namespaces: {tried.stderr}")
    return [*kinds, "sh", "-c", f'{before} && exec "$0" "$@"']


def same_bits(one, other):
    """Whether two models have the same weights."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache that this process and all that it starts use."""
    folder = tmp_path / "shared"
    monkeypatch.setenv("VAELIB_CACHE", str(folder))
    return folder


def left_over(cache: Path) -> list[str]:
    """Names of half-written files."""
    return [file.name for file in cache.rglob(".*")]


# Killed


def test_a_training_that_was_killed_is_done_again_and_ends_where_it_would_have(cache):
    fetch(TINY)
    process = subprocess.Popen(
        script("fetch(LONGER, on_epoch=lambda epoch: print(epoch, flush=True))"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "1\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert entry(TINY).exists() and not entry(LONGER).exists()
    lines = []
    after = fetch(LONGER, report=lines.append)
    assert "trained" in lines[0]
    assert same_bits(after.model, fetch(LONGER, cache=cache.parent / "elsewhere").model)


@pytest.mark.parametrize("number", [1, 2], ids=["of the weights", "of the record"])
def test_what_was_killed_in_the_middle_of_writing_leaves_nothing_that_is_loaded(number, cache):
    body = f"""
        flushed = []
        def fsync(handle):
            flushed.append(handle)
            if len(flushed) == {number}:
                os.kill(os.getpid(), signal.SIGKILL)
        store.os.fsync = fsync
        fetch(TINY)
    """
    assert subprocess.run(script(body)).returncode == -signal.SIGKILL
    assert not entry(TINY).exists() and left_over(cache)
    lines = []
    fetch(TINY, report=lines.append)
    assert "trained" in lines[0]
    assert not left_over(cache), "what the dead process left was not removed"


def test_what_was_finished_is_not_lost_when_the_writing_of_its_successor_is_killed(cache):
    before = fetch(TINY)
    body = """
        flushed = []
        def fsync(handle):
            flushed.append(handle)
            if len(flushed) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        store.os.fsync = fsync
        place = entry(TINY)
        record, weights = place.read()
        place.write(record, {name: weight + 1 for name, weight in weights.items()})
    """
    assert subprocess.run(script(body)).returncode == -signal.SIGKILL
    lines = []
    assert same_bits(fetch(TINY, report=lines.append).model, before.model)
    assert "loaded" in lines[0], "it was lost and trained again"


@pytest.mark.parametrize("done", [0, 1], ids=["before the weights", "between weights and record"])
def test_a_replacement_that_was_killed_between_its_renames_leaves_nothing_damaged(done, cache):
    before = fetch(TINY)
    body = f"""
        renamed, replace = [], store.Path.replace
        def rename(file, target):
            if len(renamed) == {done}:
                os.kill(os.getpid(), signal.SIGKILL)
            renamed.append(replace(file, target))
        store.Path.replace = rename
        place = entry(TINY)
        record, weights = place.read()
        place.write(record, {{name: weight + 1 for name, weight in weights.items()}})
    """
    assert subprocess.run(script(body)).returncode == -signal.SIGKILL
    assert same_bits(fetch(TINY).model, before.model), "neither the old model nor what training gives again"
    assert not left_over(cache)


def test_a_reader_never_sees_half_of_what_another_replaces(cache):
    place = entry(TINY)
    fetch(TINY)
    body = """
        place = entry(TINY)
        record, weights = place.read()
        print("begun", flush=True)
        for number in range(100_000):
            with place.lock():
                place.write(record, {name: weight + number for name, weight in weights.items()})
    """
    with subprocess.Popen(script(body), stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "begun\n"
        seen = set()
        try:
            while len(seen) < 10 and writer.poll() is None:
                seen.add(place.read()[0]["weights_sha256"])
        finally:
            writer.kill()
    assert len(seen) == 10


def test_a_process_that_is_killed_ends_the_others_with_a_word_and_keeps_what_was_finished(cache):
    killed = []

    def kill_one():
        if not killed:
            own = psutil.Process().children(recursive=True)
            killed.extend(child.pid for child in own if "popen_loky" in " ".join(child.cmdline()))
            os.kill(killed[0], signal.SIGKILL)

    fetch(TINY)
    with pytest.raises(jobs.WorkerDiedError, match=r"a process was killed.*what was finished is kept"):
        list(jobs.run_all([TINY, LONGER, replace(LONGER, seed=2)], jobs=2, on_epoch=kill_one))
    assert entry(TINY).exists()
    done = list(jobs.run_all([LONGER, replace(LONGER, seed=2)], jobs=2))
    assert not any(job.error for job in done) and not left_over(cache)


NOTEBOOK = [
    ("profile = 'quick'\nseed = 0\nrate = 0.5\nnoisy = False", ["parameters"]),
    ("from pathlib import Path\nPath('started').touch()", []),
]


def notebook(folder: Path, *sources: str) -> Path:
    """A notebook with a cell of parameters, one that says that it was started, and further cells."""
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": tags})
        for source, tags in [*NOTEBOOK, *((source, []) for source in sources)]
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    file = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)
    return file


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


def test_a_worker_of_a_cluster_that_was_killed_loses_nothing(cache):
    experiments = [replace(TINY, epochs=2, seed=seed) for seed in range(4)]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        finished = jobs.run_all(experiments, scheduler=cluster.scheduler_address)
        first = next(finished)
        victim = next(iter(cluster.workers.values())).process.pid
        os.kill(victim, signal.SIGKILL)
        done = [first, *finished]
    assert {job.experiment.seed for job in done} == {0, 1, 2, 3} and not any(job.error for job in done)
    assert all(entry(experiment).exists() for experiment in experiments)
    alone = fetch(experiments[3], cache=cache.parent / "alone")
    assert same_bits(fetch(experiments[3]).model, alone.model)


# Disks


def test_a_full_disk_is_named_and_what_was_finished_is_kept(cache):
    fetch(TINY)
    full = cache.parent / "full"
    full.mkdir()
    small = in_namespace(f"mount -t tmpfs -o size=48k none {full}")
    body = f"""
        import shutil
        records_alone = shutil.ignore_patterns("*.safetensors")
        shutil.copytree({str(cache)!r}, {str(full)!r}, dirs_exist_ok=True, ignore=records_alone)
        try:
            fetch(LONGER, cache={str(full)!r})
        except MendableError as error:
            print("MENDABLE", error)
        print("LEFT", sorted(os.path.basename(f) for _, _, files in os.walk({str(full)!r}) for f in files))
    """
    said = subprocess.run([*small, *script(body)], capture_output=True, text=True).stdout
    assert re.search(r"MENDABLE cannot write to the cache .*No space left.*set VAELIB_CACHE", said), said
    assert f"{TINY.key}.json" in said and f"{LONGER.key}.json" not in said and f".{LONGER.key}" not in said


def test_a_read_only_cache_gives_what_it_has_and_says_where_else_to_train(cache):
    fetch(TINY)
    read_only = in_namespace(f"mount --bind {cache} {cache}", f"mount -o remount,ro,bind {cache}")
    body = """
        fetch(TINY)
        try:
            fetch(LONGER, on_epoch=lambda epoch: print("TRAINED IN VAIN"))
        except MendableError as error:
            print("MENDABLE", error)
    """
    said = subprocess.run([*read_only, *script(body)], capture_output=True, text=True).stdout
    assert "tiny (quick, seed 0): loaded" in said
    assert re.search(r"MENDABLE cannot write to the cache .*Read-only.*set VAELIB_CACHE", said), said
    assert "IN VAIN" not in said


# Networks


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_where_a_system_allows_no_namespaces_the_tests_fail_if_they_may_not_be_skipped(ci, outcome, monkeypatch):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="allows no namespaces"):
        in_namespace("false")


def test_training_side_by_side_needs_no_network(cache):
    body = """
        from vaelib.build.jobs import run_all
        done = list(run_all([TINY, LONGER], jobs=2))
        print(len(done), [job.error for job in done])
    """
    said = subprocess.run([*in_namespace("true"), *script(body)], capture_output=True, text=True)
    assert said.stdout.strip() == "2 ['', '']", said.stderr


def test_a_notebook_is_run_without_a_network(tmp_path):
    target = tmp_path / "run" / "page.ipynb"
    body = f"""
        from vaelib.build.cli import app
        app(["notebook", "run", {str(notebook(tmp_path))!r}, {str(target)!r}])
    """
    said = subprocess.run([*in_namespace("true"), *script(body)], capture_output=True, text=True)
    assert target.exists(), said.stderr


def test_what_a_worker_wrote_elsewhere_is_not_taken_for_finished(cache, monkeypatch):
    elsewhere = cache.parent / "elsewhere"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="inproc://"
    ) as cluster:
        monkeypatch.setattr(jobs, "fetch", lambda experiment, **options: fetch(experiment, cache=elsewhere))
        with pytest.raises(jobs.ClusterError, match=r"tiny was finished by a worker .* give --cache a folder"):
            list(jobs.run_all([TINY], scheduler=cluster.scheduler_address))


def test_a_scheduler_without_dask_is_answered_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner().invoke(app, ["sweep", "simple-d2", "--scheduler", "tcp://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "needs dask.distributed" in result.output and "`make env` or pip install -e '.[cluster]'" in result.output


# Numbers


def test_a_model_whose_loss_is_not_finite_does_not_take_the_others_with_it(cache):
    bad = replace(TINY, name="bad", learning_rate=1e30)
    done = {job.experiment.name: job for job in jobs.run_all([bad, TINY, LONGER], jobs=1)}
    assert re.search(r"bad \(quick, seed 0\): .*learning rate of 1e\+30 that is too large", done["bad"].error)
    assert not done["tiny"].error and not done["longer"].error
    assert not entry(bad).exists() and entry(TINY).exists() and entry(LONGER).exists()


# Notebooks


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
    assert "does not set sed; it sets profile, seed, rate, noisy" in result.output and "Traceback" not in result.output
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
    given = {"profile": "a\"b'\\1=#", "seed": 12, "rate": -2, "noisy": True}
    options = [option for name, value in given.items() for option in ("--parameter", f"{name}={value}")]
    source = notebook(tmp_path, "print([profile, seed, rate, noisy])")
    result = notebook_run(source, target, "--seed", "7", *options)
    assert result.exit_code == 0, result.output
    page = nbformat.read(target, as_version=4)
    assert ast.literal_eval(page.cells[-1].outputs[0].text) == list(given.values())
    shown = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(page.cells[0].source).body}
    assert shown == given


# Pickle


ROOT = Path(__file__).parents[2]
PICKLES = re.compile(
    r"""pickle|\bdill\b|\bshelve\b|\bmarshal\b|weights_only|load_state_dict_from
    |\b(torch|joblib)(\.\w+)*\.(load|save|dump)\b|\bfrom\ (torch|joblib)\S*\ import\b.*\b(load|save|dump)\b""",
    re.VERBOSE,
)


def code() -> dict[str, str]:
    """All code but the tests, by its place: modules and the code cells of the notebooks."""
    modules = [file for folder in ("vaelib", "benchmarks", "book") for file in (ROOT / folder).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in modules}
    for file in (ROOT / "book").glob("*.ipynb"):
        for index, cell in enumerate(nbformat.read(file, as_version=4).cells):
            if cell.cell_type == "code":
                found[f"{file.name}, cell {index}"] = cell.source
    return found


def test_no_code_names_what_pickles_to_disk():
    sources = code()
    assert {"vaelib/store.py", "benchmarks/loops.py"} <= sources.keys()
    assert any("find_vae" in source for name, source in sources.items() if ", cell " in name)
    assert not {name: found[0] for name, source in sources.items() if (found := PICKLES.search(source))}


@pytest.mark.parametrize(
    "line",
    [
        "import cloudpickle",
        "frame.to_pickle(file)",
        "np.load(file, allow_pickle=True)",
        "torch.save(model, file)",
        "torch.jit.load(file)",
        "from torch import load, nn",
        "from joblib import Parallel, dump",
        "joblib.load(file)",
        "import dill as d",
    ],
)
def test_code_that_pickles_would_be_seen(line):
    assert PICKLES.search(line)


def test_training_keeping_and_loading_unpickle_nothing(cache):
    body = """
        import io, pickle, torch
        seen = []
        sys.addaudithook(lambda event, arguments: seen.append(arguments) if event == "pickle.find_class" else None)
        fetch(TINY)
        fetch(TINY)
        print(len(seen), entry(TINY).weights_file.read_bytes()[8:9])
        torch.save(torch.nn.Linear(1, 1), buffer := io.BytesIO())
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
        print(len(seen) > 0)
    """
    said = subprocess.run(script(body), capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-2:] == ["0 b'{'", "True"]
