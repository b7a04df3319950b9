"""Nothing outlives who asked for it, and nothing waits in silence. Processes are begun and killed for real."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Semaphore

import psutil
import pytest
from machines import notebook

from vaelib.build import processes
from vaelib.build.attended import progress

#: A bound for what hangs; nothing is judged by it.
PATIENCE = 120
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
VAELIB = [sys.executable, "-c", "from vaelib.build.cli import app; app()"]


def begin(command: list[str], **environment: str) -> psutil.Popen:
    """A command in a session of its own, as a terminal or a service begins it, with the usual signals."""
    return psutil.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in processes.ENDING],
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


def wait_for(there, process: psutil.Popen) -> None:
    """Wait until something is there; fail where the process has ended before."""
    while not there():
        try:
            process.wait(0.05)
        except psutil.TimeoutExpired:
            continue
        pytest.fail(process.stdout.read())


def ended(process: psutil.Popen, number: int) -> int:
    """Send a signal to this process alone; all that it had begun must end; what it returned."""
    family = process.children(recursive=True)
    assert family, "there was nothing to leave behind"
    process.send_signal(number)
    status = process.wait(PATIENCE)
    _, left = psutil.wait_procs(family, PATIENCE)
    assert not left
    return status


@pytest.mark.parametrize("number", ENDS)
def test_a_training_that_is_ended_leaves_no_process_and_nothing_half_written(number, cache):
    process = begin([*VAELIB, "train", "simple-d2", "simple-d20", "--jobs", "2"])
    wait_for(lambda: list(cache.glob("models/*.lock")), process)
    status = ended(process, number)
    if number != signal.SIGKILL:
        assert status == 128 + number and "What was finished is kept" in process.stdout.read()
    assert {file.suffix for file in cache.glob("models/*")} <= {".lock", ".safetensors"}


@pytest.mark.parametrize("number", ENDS)
def test_a_notebook_that_is_ended_leaves_no_kernel_no_page_and_no_temporary_file(number, tmp_path):
    folder, target = tmp_path / "t", tmp_path / "run" / "page.ipynb"
    folder.mkdir()
    source = notebook(tmp_path, "import time; time.sleep(600)")
    process = begin([*VAELIB, "notebook", "run", str(source), str(target)], TMPDIR=str(folder))
    wait_for((target.parent / "started").exists, process)
    ended(process, number)
    assert not target.exists()
    if number != signal.SIGKILL:
        assert not [*folder.iterdir(), *target.parent.glob(".*")]


@pytest.mark.parametrize("number", ENDS)
def test_a_command_that_is_attended_ends_with_what_attends_it(number, tmp_path):
    command = [sys.executable, processes.__file__, "wait", str(tmp_path / "log"), "60", "sleep", "600"]
    process = begin(command)
    wait_for(process.children, process)
    if sys.platform != "linux" and number == signal.SIGKILL:
        pytest.skip("this system does not tell a process that its parent was killed")
    assert ended(process, number) == (-number if number == signal.SIGKILL else 128 + number)


def test_what_make_began_ends_when_make_is_gone(cache):
    make = psutil.Popen(["sleep", "600"])
    process = begin([*VAELIB, "train", "simple-d2", "--jobs", "1"], **{processes.MAKE_PID: str(make.pid)})
    wait_for(lambda: list(cache.glob("models/*.lock")), process)
    make.kill()
    make.wait()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("command", "status"), [("echo said", 0), ("echo said; exit 3", 3)])
def test_a_command_that_is_attended_returns_its_status_and_its_words_are_in_the_log(command, status, tmp_path):
    assert processes.attended("try", tmp_path / "log", 2, ["sh", "-c", command]) == status
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_command_that_is_not_there_is_named_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(processes, "end_in_order", lambda: None)
    assert processes.main(["print", str(tmp_path / "log"), "1", "/gone/browser"]) == processes.NOT_FOUND
    assert capsys.readouterr().err == "print: /gone/browser cannot be run (No such file or directory)\n"


def test_a_command_that_never_answers_is_ended_with_a_word(tmp_path, capsys):
    before = psutil.Process().children()
    assert processes.attended("print", tmp_path / "log", 1e-4, ["sleep", "600"]) == processes.TOO_LONG
    assert "print: ended after 0.0001 minutes: sleep" in capsys.readouterr().err
    assert not {child.pid for child in psutil.Process().children()} - {child.pid for child in before}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("Collecting torch\r\nDownloading torch\n\n", ", Downloading torch"),
        ("reading sources... [ 50%] a\n", ", reading sources 50 %, about 300 s left"),
        (
            "reading sources... [100%] z\nwriting output... \x1b[1m[ 50%]\x1b[0m b\n",
            ", writing output 50 %, about 33 s left",
        ),
        ("writing output... [100%] b\ncopying images... [ 10%] c\n", ", copying images 10 %"),
    ],
)
def test_how_far_a_command_is_is_read_from_its_log(log, words, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.time, "monotonic", lambda: 110.0)
    (tmp_path / "log").write_text(log)
    said = processes._how_far(tmp_path / "log", 10.0)
    assert said.replace("5 min", "300 s") == words


def test_work_that_takes_long_is_spoken_of_again_and_again(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.01)
    said = Semaphore(0)
    with processes.now_and_then(said.release):
        assert all(said.acquire(timeout=PATIENCE) for _ in range(3))


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1", "GITHUB_ACTIONS": "true"}])
def test_where_there_is_no_terminal_progress_is_lines_with_an_estimate(colours, capsys, monkeypatch):
    for name, value in colours.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "PATIENCE", 0.01)
    told = ""
    with progress("measuring", 4, "pieces") as advance:
        advance(1)
        while "measuring: 1 of 4 pieces, about 0 s left" not in told:
            told += capsys.readouterr().out
        advance(3)
    assert "━" not in told + capsys.readouterr().out


# What make hands on


def made(*words: str, **environment: str) -> str:
    """What make says in this checkout, with some variables more."""
    command = ["make", "-s", "--no-print-directory", *words]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True).stdout


def test_the_settings_of_the_user_are_not_handed_on_by_make_but_those_of_the_index_are(tmp_path):
    (tmp_path / "profile").write_text("echo from a profile\ncd /\n")
    for_others = [
        "PYTHONPATH",
        "PYTHONOPTIMIZE",
        "PYTHONWARNINGS",
        "GIT_DIR",
        "PYTEST_ADDOPTS",
        "PIP_USER",
        "PIP_TARGET",
    ]
    for_others += ["PIP_NO_DEPS", "PIP_CONSTRAINT", "LANGUAGE", "LC_NUMERIC", "MYPYPATH", "BASH_ENV", "CDPATH"]
    for_us = ["PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "PIP_FIND_LINKS", "https_proxy", "SSL_CERT_FILE", "VAELIB_DATA"]
    given = dict.fromkeys([*for_others, *for_us], "x") | {"BASH_ENV": str(tmp_path / "profile"), "OMP_NUM_THREADS": "4"}
    told = made("--eval", "told: ; @env", "told", **given).splitlines()
    names = {line.partition("=")[0] for line in told}
    assert not names & set(for_others) and names >= set(for_us)
    assert "from a profile" not in told and {"OMP_NUM_THREADS=1", "PYTHONUTF8=1"} <= set(told)
    assert not any(name.startswith(("LC_", "LANG")) for name in names)


@pytest.mark.parametrize(("folder", "handed_on"), [("/t" * 50, "/tmp"), ("/a folder", "/a folder")])
def test_a_temporary_folder_whose_path_is_too_long_for_sockets_is_not_used(folder, handed_on):
    assert made("--eval", "told: ; @echo $$TMPDIR", "told", TMPDIR=folder) == f"{handed_on}\n"


def test_make_goes_by_what_it_was_told_and_not_by_the_environment_of_shells(tmp_path):
    (tmp_path / "profile").write_text("echo from a profile\n")
    assert made("--eval", "told: ; @echo $(shell echo here)", "told", BASH_ENV=str(tmp_path / "profile")) == "here\n"


def refused(folder: Path, there: str) -> bool:
    """Whether make does not begin in a folder where that stands for the make that works there."""
    (folder / "_build").mkdir(exist_ok=True)
    (folder / "_build" / ".make").write_text(f"{there}\n")
    makefile = Path(__file__).parents[2] / "Makefile"
    environment = {name: value for name, value in os.environ.items() if name != processes.MAKE_PID}
    command = ["make", "-f", str(makefile), "--dry-run", "models"]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stderr
    return f"another make, process {there}, works in this folder; wait for it" in said


def test_two_makes_do_not_work_in_one_folder(tmp_path):
    (tmp_path / "other.mk").write_text("other:\n\tsleep 600\n")
    other = psutil.Popen(["make", "-s", "-f", str(tmp_path / "other.mk")], start_new_session=True)
    assert refused(tmp_path, str(other.pid))
    os.killpg(other.pid, signal.SIGKILL)
    other.wait()
    assert not refused(tmp_path, str(other.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="this system does not tell what a process is called")
def test_the_number_of_a_make_that_is_gone_may_be_that_of_another_process(tmp_path):
    assert not refused(tmp_path, str(os.getpid()))


def test_the_number_of_a_make_that_is_gone_may_be_ours_as_in_a_container(tmp_path):
    (tmp_path / "_build").mkdir()
    makefile = Path(__file__).parents[2] / "Makefile"
    environment = {name: value for name, value in os.environ.items() if name != processes.MAKE_PID}
    begun = f'echo $$ >_build/.make; exec make -f "{makefile}" --dry-run models'
    said = subprocess.run(["sh", "-c", begun], cwd=tmp_path, env=environment, capture_output=True, text=True).stderr
    assert "another make" not in said


def test_ci_runs_everything():
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    assert script.endswith("\nexec make lint test book test-site\n") and "SECONDS" not in script
