r"""What was computed once is kept under a hash of all that makes it: one safetensors file an entry.

The tensors are the weights, none for a measurement; the record is JSON in its metadata, with a checksum of itself and
of the tensors that each read verifies. A file is written beside its place and renamed, under a lock, so that who reads
meets nothing, what was there before, or all of it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
from filelock import FileLock, Timeout
from safetensors.torch import load, save
from torch import Tensor

from vaelib.errors import MendableError

LOG = logging.getLogger(__name__)
#: Seconds that a lock is waited for before that is said.
PATIENCE = 10.0


class DamagedEntryError(MendableError, RuntimeError):
    """A cached file does not match its checksum; the message names it and the command that mends it."""


class UnwritableCacheError(MendableError, RuntimeError):
    """The cache folder cannot be written or read; the message says how to move it."""


def cache_folder(cache: Path | str | None = None) -> Path:
    """`cache`, else `VAELIB_CACHE`, else `_cache` in the checkout, else (installed) the user's cache directory.

    Raises `UnwritableCacheError` for what can be no folder.
    """
    if chosen := cache or os.environ.get("VAELIB_CACHE"):
        try:
            folder = Path(chosen).expanduser().resolve()
            if os.path.lexists(folder) and not folder.is_dir():
                raise OSError("it is no folder")
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a home that is none, a null
            raise _unusable(Path(chosen), error) from error
        return folder
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "_cache"
    return platformdirs.user_cache_path("vaelib")


@dataclass(frozen=True)
class Entry:
    """The place of one result, `folder/key.safetensors`."""

    folder: Path
    key: str

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return self.folder / f"{self.key}.safetensors"

    def exists(self) -> bool:
        """Whether a finished result is there."""
        return self.file.is_file()

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The record and the weights, empty where there are none.

        Raises `DamagedEntryError`, and `UnwritableCacheError` for a file that may not be read.
        """
        try:
            content = self.file.read_bytes()
        except FileNotFoundError as error:
            raise self._damaged("it is not there") from error
        except OSError as error:
            raise _unusable(self.folder, error) from error
        try:
            header, tensors = _parts(content)
            metadata = header.pop("__metadata__")
            record = json.loads(metadata["record"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged("it is no complete record") from error
        if metadata.get("sha256") != _seal(record, header, tensors) or record["key"] != self.key:
            raise self._damaged("its content does not match its checksum")
        return record, load(content)

    def write(self, record: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> None:
        """Write the file, complete or not at all; what was there before is kept until then."""
        sealed = json.loads(json.dumps({**record, "key": self.key}))
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in (weights or {}).items()}
        seal = _seal(sealed, *_parts(save(own)))
        content = save(own, metadata={"record": json.dumps(sealed), "sha256": seal})
        beside = self.folder / f".{self.key}.{uuid4().hex}"
        try:
            with beside.open("xb") as file:  # not a temporary file of Python's, which nobody else may read
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.file)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        finally:
            with suppress(OSError):  # not there, or for the same reason as above
                beside.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The lock of this entry: who holds it computes, all others wait and then read.

        The system releases it when its holder dies; what such a holder left half written is removed here.
        """
        lock = FileLock(self.folder / f"{self.key}.lock", mode=0o666 & ~_umask())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _take(lock)
            for left in self.folder.glob(f".{self.key}.*"):
                left.unlink()
        except OSError as error:
            raise _unusable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def _damaged(self, why: str) -> DamagedEntryError:
        return DamagedEntryError(
            f"{self.file} is damaged: {why}. Nothing was loaded. Delete it and run the same command again:\n"
            f"  rm {self.file}"
        )


def remembered(entry: Entry, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of `entry`, computed and written under its lock if it is not there yet."""
    if not entry.exists():
        with entry.lock():
            if not entry.exists():
                entry.write(compute())
    return entry.read()[0]


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes of its tensors."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _seal(record: Mapping[str, Any], header: Mapping[str, Any], tensors: bytes) -> str:
    return hashlib.sha256(json.dumps([record, header], sort_keys=True).encode() + tensors).hexdigest()


def _take(lock: FileLock) -> None:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        LOG.warning("waiting for another process, which holds %s", lock.lock_file)
        lock.acquire()


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _unusable(folder: Path, error: Exception) -> UnwritableCacheError:
    return UnwritableCacheError(
        f"cannot use the cache {folder} ({error}); free some space, ask its owner for permission, or set "
        "VAELIB_CACHE to a folder of your own. What was finished before is kept."
    )
