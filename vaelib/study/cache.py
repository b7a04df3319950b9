r"""What was computed once is kept: weights as safetensors and records as JSON, under a hash of all that makes them.

An entry is one folder-free pair `KEY.json` and, for models, `KEY.safetensors`. It is written to temporary files and
these are renamed, the record last, under a lock, after an older record was removed, so that a reader meets either
nothing or all of it; the record holds the checksums of both and they are verified at each read.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import platformdirs
from filelock import FileLock
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from vaelib.errors import MendableError


class DamagedEntryError(MendableError, RuntimeError):
    """A cached file does not match its checksum; the message names it and the command that mends it."""


class UnwritableCacheError(MendableError, RuntimeError):
    """The cache folder cannot be written; the message says how to move it."""


def cache_folder(cache: Path | str | None = None) -> Path:
    """`cache`, else `VAELIB_CACHE`, else `_cache` in the checkout, else (installed) the user's cache directory."""
    if chosen := cache or os.environ.get("VAELIB_CACHE"):
        return Path(chosen).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "_cache"
    return platformdirs.user_cache_path("vaelib")


@dataclass(frozen=True)
class Entry:
    """The place of one result: `folder/key.json` and perhaps `folder/key.safetensors`."""

    folder: Path
    key: str

    @property
    def record_file(self) -> Path:
        """Where the record is."""
        return self.folder / f"{self.key}.json"

    @property
    def weights_file(self) -> Path:
        """Where the weights are."""
        return self.folder / f"{self.key}.safetensors"

    def exists(self) -> bool:
        """Whether a finished result is there."""
        return self.record_file.is_file()

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The record and the weights (empty where there are none); raises `DamagedEntryError`.

        What looks damaged may be half replaced by another process, so it is looked at again under the lock.
        """
        try:
            return self._read()
        except DamagedEntryError as error:
            try:
                with self.lock():
                    return self._read()
            except UnwritableCacheError:  # nobody writes here
                raise error from None

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            record = json.loads(self.record_file.read_bytes())
            seal = record.pop("record_sha256")
            expected = record["weights_sha256"]
        except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
            raise self._damaged(self.record_file, "it is no complete record") from error
        if seal != _seal(record) or record["key"] != self.key:
            raise self._damaged(self.record_file, "its content does not match its checksum")
        if expected is None:
            return record, {}
        weights = self.weights_file.read_bytes() if self.weights_file.is_file() else b""
        if _sha256(weights) != expected:
            raise self._damaged(
                self.weights_file,
                "its content does not match the checksum in its record",
            )
        return record, tensors_from_bytes(weights)

    def write(self, record: dict[str, Any], weights: dict[str, Tensor] | None = None) -> None:
        """Write both files, each complete or not at all; what was there before is kept until both are on the disk.

        Between the renames there is no record: who dies there leaves an entry that does not exist, not a damaged one.
        """
        sealed = {**json.loads(json.dumps(record)), "key": self.key, "weights_sha256": None}
        contents = {}
        if weights is not None:
            content = tensors_to_bytes({name: tensor.cpu().contiguous() for name, tensor in weights.items()})
            sealed["weights_sha256"] = _sha256(content)
            contents[self.weights_file] = content
        sealed["record_sha256"] = _seal(sealed)
        contents[self.record_file] = json.dumps(sealed, indent=1).encode()  # last: it says that all is there
        _replace(contents)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The lock of this entry: who holds it computes, all others wait and then read.

        The system releases it when its holder dies; what such a holder left half written is removed here.
        """
        lock = FileLock(self.folder / f"{self.key}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            for left in self.folder.glob(f".{self.key}.*"):
                left.unlink()
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def _damaged(self, file: Path, why: str) -> DamagedEntryError:
        return DamagedEntryError(
            f"{file} is damaged: {why}. Nothing was loaded. To mend it, delete it and run the same command again:\n"
            f"  rm {self.record_file} {self.weights_file}"
        )


def remembered(entry: Entry, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of `entry`, computed and written under its lock if it is not there yet."""
    if not entry.exists():
        with entry.lock():
            if not entry.exists():
                entry.write(compute())
    return entry.read()[0]


def _replace(contents: dict[Path, bytes]) -> None:
    """Write next to each file, flush to disk, remove the last file, rename in order; on failure leave nothing."""
    temporary: dict[Path, Path] = {}
    try:
        for file, content in contents.items():
            with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as handle:
                temporary[file] = Path(handle.name)
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
        record = list(temporary)[-1]
        record.unlink(missing_ok=True)
        for file, written in temporary.items():
            written.replace(file)
    except OSError as error:
        raise _unwritable(next(iter(contents)).parent, error) from error
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> UnwritableCacheError:
    return UnwritableCacheError(
        f"cannot write to the cache {folder} ({error}); free some space or set VAELIB_CACHE to a folder that can be "
        "written. What was finished before is kept."
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _seal(record: dict[str, Any]) -> str:
    return _sha256(json.dumps(record, sort_keys=True).encode())
