r"""What happens on real machines: processes are killed, disks are full, networks are absent. Each is done for real."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import distributed
import numpy as np
import psutil
import pytest
import torch
from machines import LONGER, TINY, in_namespace, script, under_permissions
from PIL import Image
from typer.testing import CliRunner

from vaelib.build import jobs
from vaelib.build.cli import app
from vaelib.mnist import TORCHVISION
from vaelib.study.trained import entry, fetch, key


def same_bits(one, other):
    """Whether two models have the same weights."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


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


def test_what_was_killed_in_the_middle_of_writing_leaves_nothing_that_is_loaded(cache):
    body = """
        store.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        fetch(TINY)
    """
    assert subprocess.run(script(body)).returncode == -signal.SIGKILL
    assert not entry(TINY).exists() and left_over(cache)
    lines = []
    fetch(TINY, report=lines.append)
    assert "trained" in lines[0]
    assert not left_over(cache), "what the dead process left was not removed"


@pytest.mark.parametrize("moment", ["store.os.fsync", "store.Path.replace"])
def test_what_was_finished_is_not_lost_when_the_writing_of_its_successor_is_killed(moment, cache):
    before = fetch(TINY)
    body = f"""
        {moment} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
        place = entry(TINY)
        record, weights = place.read()
        place.write(record, {{name: weight + 1 for name, weight in weights.items()}})
    """
    assert subprocess.run(script(body)).returncode == -signal.SIGKILL
    lines = []
    assert same_bits(fetch(TINY, report=lines.append).model, before.model)
    assert "loaded" in lines[0], "it was lost and trained again"


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
                seen.add(next(iter(place.read()[1].values())).sum().item())
        finally:
            writer.kill()
    assert len(seen) == 10


def test_a_process_that_is_killed_ends_the_others_with_a_word_and_keeps_what_was_finished(cache):
    def kill_one():
        while not entry(LONGER).folder.joinpath(f"{key(LONGER)}.lock").exists():
            time.sleep(0.05)
        own = psutil.Process().children(recursive=True)
        os.kill(next(child.pid for child in own if "popen_loky" in " ".join(child.cmdline())), signal.SIGKILL)

    fetch(TINY)
    Thread(target=kill_one, daemon=True).start()
    with pytest.raises(jobs.WorkerDiedError, match=r"a process was killed.*what was finished is kept"):
        list(jobs.run_all([TINY, LONGER, replace(LONGER, seed=2)], jobs=2))
    assert entry(TINY).exists()
    done = list(jobs.run_all([LONGER, replace(LONGER, seed=2)], jobs=2))
    assert not any(job.error for job in done) and not left_over(cache)


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
    full = cache.parent / "full"
    full.mkdir()
    small = in_namespace(f"mount -t tmpfs -o size=48k none {full}")
    body = f"""
        small = store.Entry(entry(TINY, cache={str(full)!r}).folder, "small")
        with small.lock():
            small.write({{"a": 1}})
        try:
            fetch(LONGER, cache={str(full)!r})
        except MendableError as error:
            print("MENDABLE", error)
        print("LEFT", sorted(os.path.basename(f) for _, _, files in os.walk({str(full)!r}) for f in files))
    """
    said = subprocess.run([*small, *script(body)], capture_output=True, text=True).stdout
    assert re.search(r"MENDABLE cannot use the cache .*No space left.*set VAELIB_CACHE", said), said
    assert "small.safetensors" in said and f"{key(LONGER)}.safetensors" not in said and f".{key(LONGER)}" not in said


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
    assert re.search(r"MENDABLE cannot use the cache .*Read-only.*set VAELIB_CACHE", said), said
    assert "IN VAIN" not in said


@pytest.mark.parametrize("what", ["", "MNIST/raw", "MNIST/raw/t10k-labels-idx1-ubyte"])
def test_data_that_may_not_be_read_end_a_command_before_anything_is_started(what, tmp_path, cache):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in TORCHVISION["full"][1].values():
        (raw / file.name).touch()
    (tmp_path / "data" / what).chmod(0)
    train = [sys.executable, "-c", "from vaelib.build.cli import app; app()", "train", "simple-d2", "--profile", "full"]
    environment = {**os.environ, "VAELIB_DATA": str(tmp_path / "data"), "NO_COLOR": "1"}
    try:
        said = subprocess.run([*under_permissions(), *train], env=environment, capture_output=True, text=True)
    finally:
        (tmp_path / "data" / what).chmod(0o755)
    assert said.returncode == 1 and not said.stdout and not cache.exists()
    assert re.fullmatch(rf"Error: {raw}/\S+ cannot be read \(Permission denied\); .*\n", said.stderr), said.stderr


@pytest.mark.parametrize("closed", ["", "cat", "cat/0.png", "own.npz"])
def test_images_of_a_visitors_own_that_may_not_be_read_are_named(closed, tmp_path):
    """A subfolder that may not be read is not passed over in silence."""
    folder = tmp_path / "pictures"
    for number in range(4):
        (folder / ("cat", "dog")[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (7, 5)).save(folder / ("cat", "dog")[number % 2] / f"{number}.png")
    np.savez(folder / "own.npz", images=np.zeros((4, 5, 7)))
    read = (
        f"import sys; from vaelib.data import load; load({str(folder / closed if closed == 'own.npz' else folder)!r})"
    )
    assert subprocess.run([sys.executable, "-c", read]).returncode == 0
    (folder / closed).chmod(0)
    try:
        said = subprocess.run([*under_permissions(), sys.executable, "-c", read], capture_output=True, text=True).stderr
    finally:
        (folder / closed).chmod(0o755)
    assert re.match(rf"vaelib.data.DataError: {folder / closed} .*Permission denied", said.splitlines()[-1]), said


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
    assert "needs dask.distributed" in result.output and "pip install -e '.[cluster]'" in result.output


# Numbers


def test_a_model_whose_loss_is_not_finite_does_not_take_the_others_with_it(cache):
    bad = replace(TINY, name="bad", learning_rate=1e30)
    done = {job.experiment.name: job for job in jobs.run_all([bad, TINY, LONGER], jobs=1)}
    assert re.search(r"bad \(quick, seed 0\): .*learning rate of 1e\+30 that is too large", done["bad"].error)
    assert not done["tiny"].error and not done["longer"].error
    assert not entry(bad).exists() and entry(TINY).exists() and entry(LONGER).exists()
