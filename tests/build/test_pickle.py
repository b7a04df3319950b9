r"""Nothing is pickled to disk, and nothing that was is loaded."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from machines import script

ROOT = Path(__file__).parents[2]
PICKLES = re.compile(
    r"""(?<!allow_)pickle|allow_pickle(?!=False)|\bdill\b|\bshelve\b|\bmarshal\b|weights_only|load_state_dict_from
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
    assert {"vaelib/study/cache.py", "benchmarks/loops.py"} <= sources.keys()
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
        print(len(seen), entry(TINY).file.read_bytes()[8:9])
        torch.save(torch.nn.Linear(1, 1), buffer := io.BytesIO())
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
        print(len(seen) > 0)
    """
    said = subprocess.run(script(body), capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-2:] == ["0 b'{'", "True"]
