r"""All benchmarks in one run: `python benchmarks OUTPUT [--without-book]`; the book shows the file that is written."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import loops
import scaling
import torch
import training_cost
from origin import LOOP_MODEL, origin

import book
from vaelib import data
from vaelib.study.models import FAST
from vaelib.study.trained import versions

#: Epochs of the tutorial, whose last test ELBO is the mark; the book's own schedule gets there sooner.
EPOCHS = 10
MATMUL_BATCH = 512


def profile() -> str:
    """The full data where they are at hand, else the quick profile."""
    try:
        data.load("full")
    except data.DataError:
        return "quick"
    return "full"


def course(epochs: Iterator[tuple[float, float]]) -> dict[str, list[float]]:
    """Seconds since the start and test ELBO after each epoch."""
    seconds, elbo = zip(*epochs, strict=True)
    return {"seconds": [sum(seconds[: n + 1]) for n in range(len(seconds))], "elbo": list(elbo)}


def interleaved(digits: data.Dataset) -> dict[str, float]:
    """Images per second of each loop on two threads: the fastest of three epochs, taken in turns."""
    contestants: dict[str, Callable[[], Iterator[tuple[float, float]]]] = {
        "this book": lambda: loops.ours(digits, epochs=1),
        "tutorial": lambda: loops.tutorial(digits, epochs=1),
        "pythae": lambda: loops.pythae(digits, epochs=1),
        f"this book, batch {MATMUL_BATCH}": lambda: loops.ours(digits, epochs=1, batch_size=MATMUL_BATCH),
    }
    best = dict.fromkeys(contestants, 0.0)
    for _ in range(3):
        for name, contestant in contestants.items():
            ((seconds, _),) = contestant()
            best[name] = max(best[name], len(digits.train) / seconds)
    return best


def main(output: Path, *, with_book: bool) -> None:
    """Measure everything and write it as JSON."""
    which = profile()
    digits = data.load(which)
    torch.set_num_threads(2)
    results: dict[str, Any] = {
        "versions": versions(),
        "origin": origin(),
        "profile": which,
        "images": len(digits.train),
    }

    def measure(name: str, function: Callable[[], Any]) -> None:
        results[name] = function()
        print(f"{name}: {json.dumps(results[name])}", flush=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    measure("matmul_per_second", lambda: {threads: loops.matmul_flops(threads) for threads in (1, 2)})
    torch.set_num_threads(2)
    measure("products_alone", lambda: {batch: loops.products_alone(batch) for batch in (loops.BATCH, MATMUL_BATCH)})
    measure("images_per_second", lambda: interleaved(digits))
    measure(
        "share_of_matmul",
        lambda: (
            loops.OPERATIONS
            * results["images_per_second"][f"this book, batch {MATMUL_BATCH}"]
            / results["matmul_per_second"][2]
        ),
    )
    measure("tutorial", lambda: course(loops.tutorial(digits, epochs=EPOCHS)))
    measure("ours", lambda: course(loops.ours(digits, **FAST["full"])))
    measure("ours_as_tutorial", lambda: course(loops.ours(digits, epochs=EPOCHS)))
    measure("pythae", lambda: course(loops.pythae(digits, epochs=EPOCHS)))
    measure("processes", lambda: scaling.processes(training_cost.NAMES[::-1]))
    measure("cost", training_cost.microseconds_per_image)
    measure("scaling", lambda: {name: scaling.against(name) for name in (LOOP_MODEL, "simple-d20")})
    measure("peak_megabytes", lambda: {p: scaling.peak_megabytes("simple-d20", p) for p in {"quick", which}})
    if with_book:
        measure("book_seconds", book.seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), with_book="--without-book" not in sys.argv[2:])
