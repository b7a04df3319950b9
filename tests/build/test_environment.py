r"""What is asked for (pyproject.toml), pinned (requirements.lock), offered to conda and run by CI is one thing."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


class Pin(NamedTuple):
    """One entry of the lock."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self):
        return canonicalize_name(self.requirement.name)

    @property
    def version(self):
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "==", self.requirement
        return Version(specifier.version)

    @property
    def is_for_this_machine(self):
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def pins():
    """The entries, one logical line each: what comes before the hashes is a requirement."""
    text = re.sub(r"^\s*#.*$", "", LOCK, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    for line in (line for line in lines if line and not line.startswith("--")):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        yield Pin(Requirement(requirement), tuple(hashes))


PINS = tuple(pins())
DIRECT = [
    Requirement(text)
    for group in (
        PYPROJECT["build-system"]["requires"],
        PYPROJECT["project"]["dependencies"],
        *PYPROJECT["project"]["optional-dependencies"].values(),
    )
    for text in group
]


@pytest.mark.parametrize("asked", DIRECT, ids=str)
def test_each_direct_dependency_is_pinned_to_a_version_that_it_admits(asked):
    pinned = [pin for pin in PINS if pin.name == canonicalize_name(asked.name)]
    assert any(pin.is_for_this_machine for pin in pinned), f"{asked.name} is not in requirements.lock: make lock"
    for pin in pinned:
        assert asked.specifier.contains(pin.version), f"{asked} does not admit {pin.requirement}: make lock"


@pytest.mark.parametrize("asked", DIRECT, ids=str)
def test_each_direct_dependency_is_installed_as_pinned(asked):
    (pin,) = (pin for pin in PINS if pin.name == canonicalize_name(asked.name) and pin.is_for_this_machine)
    assert Version(version(asked.name)).public == pin.version.public, f"{asked.name} differs from the lock: make env"


def test_each_pin_has_hashes():
    assert PINS
    for pin in PINS:
        assert pin.hashes, f"{pin.requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.requirement


def test_the_lock_names_no_host():
    assert not re.findall(r"://|--(?!hash=)\w+", LOCK)


def test_conda_gets_the_same_lock_and_a_python_that_the_project_admits():
    admitted = SpecifierSet(PYPROJECT["project"]["requires-python"])
    plain = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    (python,) = (entry.partition("=")[2] for entry in plain if entry.startswith("python="))
    (pip,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    assert admitted.contains(python)
    assert "pip" in plain
    assert pip == ["-r requirements.lock"]


def test_there_is_a_workflow_for_pull_requests_and_one_that_publishes():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_make_and_nothing_else(path):
    admitted = SpecifierSet(PYPROJECT["project"]["requires-python"])
    steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands
    for command in commands:
        made = r"make( [a-z-]+)+( [A-Z]+=\w+)*"
        for_the_runner = r"sudo sysctl --ignore -w kernel\.\w+=\d"
        assert re.fullmatch(rf"{made}|{for_the_runner}", command), f"{path.name} runs {command!r}"
    pythons = [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")]
    assert pythons
    assert all(admitted.contains(python) for python in pythons)
