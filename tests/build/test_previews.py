r"""Previews of figures, equations and citations are in the site: building and reading them asks nobody."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
SETTINGS = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
SCRIPTS = [*SETTINGS["tippy_js"], *(file if isinstance(file, str) else file[0] for file in SETTINGS["html_js_files"])]


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_is_in_the_site_and_loads_no_other(script):
    text = (STATIC / script).read_text(encoding="utf-8").replace("http://www.w3.org/", "")  # names, not addresses
    assert not re.findall(r"""sourceMappingURL|import\(|importScripts|["'](?:https?:)?//[a-z]+\.""", text)


def test_nothing_is_fetched_to_build_a_preview():
    assert SETTINGS["tippy_enable_wikitips"] is SETTINGS["tippy_enable_doitips"] is False
    assert not SETTINGS.get("tippy_rtd_urls")


def test_the_scripts_of_others_come_with_their_licences():
    licences = (STATIC / "hover" / "LICENSE").read_text()
    others = [Path(script).name for script in SETTINGS["tippy_js"]]
    assert others
    assert all(name in licences for name in others)
    assert licences.count("Permission is hereby granted") == len(others)
