r"""The command line says what it does, what went wrong and what to do."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vaelib import mnist
from vaelib.build import jobs
from vaelib.build.cli import INTERRUPTED, app
from vaelib.study import models as catalogue
from vaelib.study.trained import entry, key


@pytest.fixture
def run():
    """Call the command with arguments; output without colours, and the exit code."""

    def call(*arguments: str):
        return CliRunner(env={"NO_COLOR": "1", "COLUMNS": "200"}).invoke(app, arguments)

    return call


@pytest.fixture
def short(monkeypatch, noise):
    """All models are trained for one epoch on a few images of noise."""
    full = catalogue.experiments

    def experiments(profile="quick", *, seed=0):
        return {name: replace(model, epochs=1) for name, model in full(profile, seed=seed).items()}

    monkeypatch.setattr(catalogue, "experiments", experiments)


def test_list_names_every_model_of_the_book_and_all_where_it_is_asked_to():
    def listed(*options):
        lines = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "200"}).invoke(app, ["list", *options]).output.splitlines()
        return [line.split()[1] for line in lines if line.startswith("│")], lines[-1]

    book, every = list(catalogue.of_the_book()), list(catalogue.experiments())
    names, last = listed()
    assert names == book and last.startswith(f"{len(every) - len(book)} more") and last.endswith("vaelib list --all")
    names, last = listed("--all")
    assert names == every and "--all" not in last


def test_train_show_and_list_agree(run, short):
    before = json.loads(run("show", "simple-d2").output)
    assert before["trained"] is False
    trained = run("train", "simple-d2", "--jobs", "1")
    assert trained.exit_code == 0, trained.output
    assert "1 to train in 1 process" in trained.output
    after = json.loads(run("show", "simple-d2").output)
    assert after["config"] == before["config"]
    assert after["metrics"].keys() == {"test_log_px_z_nats", "test_kl_nats"}
    assert Path(after["file"]).is_file()
    again = run("train", "simple-d2", "--jobs", "1")
    assert "0 to train" in again.output


def test_retrain_trains_what_is_there(run, short):
    run("train", "simple-d2", "--jobs", "1")
    assert "simple-d2 (quick, seed 0): trained" in run("train", "simple-d2", "--jobs", "1", "--retrain").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "simple-d3"), "no model is called 'simple-d3'; the models are: classifier, simple-d2"),
        (("show", "nothing"), "no model is called 'nothing'"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--profile", "medium"),
        ("train", "--seed", "-1"),
        ("train", "--seed", "9" * 20),
        ("train", "--jobs", "0"),
    ],
)
def test_impossible_options_are_refused(run, arguments):
    result = run("train", *arguments)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.parametrize("device", ["cuda:99", "meta", "nothing"])
def test_a_device_that_is_not_there_is_refused(device, run):
    result = run("train", "simple-d2", "--device", device)
    assert result.exit_code == 2
    assert f"device '{device}' cannot be used here" in result.output


def test_damaged_weights_are_named_with_the_command_that_mends_them(run, short):
    run("train", "simple-d2", "--jobs", "1")
    weights = entry(catalogue.find("simple-d2")).file
    weights.write_bytes(weights.read_bytes()[:-1])
    result = run("train", "simple-d2", "--jobs", "1")
    assert result.exit_code == 1
    assert f"{weights} is damaged" in result.output
    assert "rm " in result.output


def test_every_epoch_of_every_model_is_announced(short):
    announced = []
    models = [catalogue.find(name) for name in ("classifier", "simple-d2", "simple-d20")]
    done = list(jobs.run_all(models, jobs=1, on_epoch=announced.append))
    assert {job.experiment.name for job in done} == {model.name for model in models}
    assert len(announced) == sum(model.epochs for model in models)


def test_ctrl_c_ends_the_command_with_one_line_and_no_half_written_file(tmp_path):
    code = "from vaelib.build.cli import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "simple-d2", "simple-d20", "--jobs", "2", "--cache", str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        env={**os.environ, "NO_COLOR": "1"},
    )
    while process.poll() is None and not list(tmp_path.glob("models/*.lock")):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, stderr
    assert "Interrupted. What was finished is kept" in stderr
    assert "Traceback" not in stderr
    assert {file.suffix for file in tmp_path.glob("models/*")} <= {".lock"}


def test_report_says_which_data_the_build_used(run, tmp_path, monkeypatch):
    monkeypatch.setattr("vaelib.study.claims.CLAIMS", ())
    result = run("report", "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "data.md").read_text()
    assert "**quick** profile: 4,000 training and 1,000 test images" in text
    assert mnist.QUICK_SHA256[:16] in text
    assert "this build finds" in (tmp_path / "verdicts.md").read_text()


def test_report_describes_the_models_of_the_build(run, short, tmp_path, monkeypatch):
    monkeypatch.setattr("vaelib.study.claims.CLAIMS", ())
    assert run("train", "simple-d2", "--seed", "3", "--jobs", "1").exit_code == 0
    assert run("report", "--seed", "3", "--output", str(tmp_path)).exit_code == 0
    first, *others = (tmp_path / "models.md").read_text().split("(model-simple-d2)=")[1].split("\n(model-")
    assert f"1 epochs in batches of {catalogue.find('simple-d2').batch_size}" in first
    assert "profile quick, seed 3. Trained in " in first
    assert f"key `{key(catalogue.find('simple-d2', seed=3))}`" in first
    *others, swept = others
    assert all("Not in the cache" in other for other in others if "## " in other)
    assert "Not in the cache of this build: `neighbourhood-alone-d20`, " in swept


def test_a_sweep_measures_every_seed_and_goes_on_where_it_was(run, short):
    first = run("sweep", "simple-d2", "classifier", "--seeds", "3,5", "--jobs", "1")
    assert first.exit_code == 0, first.output
    assert "3 models (quick profile): 0 in the cache, 3 to train in 1 process" in first.output
    assert all(entry(catalogue.find("simple-d2", seed=seed)).exists() for seed in (3, 5))
    row = first.output.splitlines()[-1]
    assert row.startswith("simple-d2 ") and row.split()[-1] == "2" and len(row.split()) == 10
    again = run("sweep", "simple-d2", "--seeds", "3-5", "--jobs", "1")
    assert "3 models (quick profile): 2 in the cache, 1 to train" in again.output


def test_a_pattern_trains_what_fits_it_of_the_sweeps_too(run, short):
    trained = run("train", "calibrated-d[25]", "--jobs", "1")
    assert trained.exit_code == 0, trained.output
    assert all(entry(catalogue.find(name)).exists() for name in ("calibrated-d2", "calibrated-d5"))
    swept = run("sweep", "calibrated-d[25]", "--seeds", "0-1", "--jobs", "1")
    assert "4 models (quick profile): 2 in the cache, 2 to train" in swept.output
    assert [line.split()[0] for line in swept.output.splitlines()[-2:]] == ["calibrated-d2", "calibrated-d5"]


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_without_a_name_the_models_of_sweeps_are_left_out(command, run, monkeypatch):
    asked = []

    def make(experiments, **options):
        asked.extend(model.name for model in experiments)
        return set(map(key, experiments))

    monkeypatch.setattr("vaelib.build.cli.make", make)
    run(command)
    assert set(asked) == set(catalogue.of_the_book())


def test_a_sweep_says_which_models_failed_and_shows_the_others(run, short, monkeypatch):
    known = catalogue.experiments

    def experiments(profile="quick", *, seed=0):
        models = known(profile, seed=seed)
        return models | {"simple-d2": replace(models["simple-d2"], learning_rate=1e30)}

    monkeypatch.setattr(catalogue, "experiments", experiments)
    result = run("sweep", "simple-d2", "sigma-1-d2", "--jobs", "1")
    assert result.exit_code == 1
    assert "Failed: simple-d2 (quick, seed 0): " in result.output
    assert any(line.startswith("sigma-1-d2 ") for line in result.output.splitlines())


@pytest.mark.parametrize(("seed", "code"), [(0, 1), (1, 0)])
def test_a_book_bears_a_model_that_cannot_be_trained_under_a_later_seed_but_not_under_its_own(
    seed, code, run, short, monkeypatch
):
    lost = replace(catalogue.find("simple-d2", seed=seed), learning_rate=1e30)
    monkeypatch.setattr(catalogue, "behind_the_book", lambda profile, seed: [lost, catalogue.find("sigma-1-d2")])
    monkeypatch.setattr("vaelib.build.cli.measure", lambda pieces, jobs: None)
    result = run("train", "--jobs", "1")
    assert result.exit_code == code
    assert f"Failed: simple-d2 (quick, seed {seed}): " in result.output
    assert entry(catalogue.find("sigma-1-d2")).exists()


@pytest.mark.parametrize("seeds", ["", "a", "3-1", "1,1", "0-", "-1", "0-999999999", "9" * 20])
def test_seeds_that_are_none_are_refused(seeds, run):
    result = run("sweep", "simple-d2", "--seeds", seeds)
    assert result.exit_code == 2
    assert "no list of seeds such as 0-19 or 0,3,7-9" in result.output


def test_a_scheduler_that_does_not_answer_is_named(run):
    result = run("sweep", "simple-d2", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no dask scheduler answers at 'tcp://127.0.0.1:1'" in result.output


def test_an_environment_that_was_copied_is_refused(run, tmp_path, monkeypatch):
    (tmp_path / "copy" / "bin").mkdir(parents=True)
    (tmp_path / "copy" / "pyvenv.cfg").touch()
    monkeypatch.setattr("sys.argv", [str(tmp_path / "copy" / "bin" / "vaelib")])
    result = run("list")
    assert result.exit_code == 1
    assert f"copy is a copy and runs the library of {sys.prefix}; run: make env" in result.output
