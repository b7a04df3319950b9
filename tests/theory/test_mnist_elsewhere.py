r"""Files of the digits that must be waited for, or that may not be read: a word, a limit, and what to do."""

import re
import socket
import subprocess
import sys
import threading
import urllib.request

import platformdirs
import pytest
from filelock import FileLock
from torchvision.datasets import mnist as torchvision_mnist

from vaelib import mnist
from vaelib.data import DataError, load

#: What a server says before it falls silent.
SILENT = {
    "nothing": b"",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "headers alone": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    "some of the file": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc",
}


@pytest.fixture
def proxy(monkeypatch):
    """Every address of the network leads to a server that takes what is asked, says this, and no more."""
    asked, open_until_the_end = [], []

    def start(says: bytes, *, hang_up: bool = False) -> list[bytes]:
        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                open_until_the_end.append(connection)
                asked.append(connection.recv(65536))
                connection.sendall(says)
                if hang_up:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return asked

    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
        monkeypatch.setattr(mnist, "SILENCE", 0.2)
        yield start
        server.shutdown(socket.SHUT_RDWR)
    for connection in open_until_the_end:
        connection.close()


@pytest.fixture
def user_cache(tmp_path, monkeypatch):
    """An empty user cache directory, and no folder named."""
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "vaelib"


@pytest.mark.parametrize("profile", ["full", "fashion"])
@pytest.mark.parametrize("says", SILENT)
def test_a_server_that_falls_silent_is_given_up_with_what_else_can_be_done(says, profile, proxy, user_cache, caplog):
    asked = proxy(SILENT[says])
    name = mnist.TORCHVISION[profile][0]
    with pytest.raises(DataError, match=f"could not be downloaded into {user_cache}.*timed out.*set VAELIB_DATA"):
        load(profile)
    assert asked, "the proxy is respected"
    assert re.search(rf"downloading {name} into {user_cache} \(\d+ MB\)", caplog.text)
    assert socket.getdefaulttimeout() is None
    FileLock(user_cache / f"{name.lower()}.lock").acquire(timeout=0)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n"])
def test_a_server_that_answers_otherwise_is_no_traceback(says, proxy, user_cache):
    proxy(says, hang_up=True)
    with pytest.raises(DataError, match="could not be downloaded"):
        load("fashion")


@pytest.mark.parametrize("address", ["http://[", "http://127.0.0.1:x", "nonsense://127.0.0.1:1"])
def test_a_proxy_that_is_none_is_no_traceback(address, proxy, user_cache, monkeypatch):
    monkeypatch.setenv("http_proxy", address)
    with pytest.raises(DataError, match="could not be downloaded"):
        load("fashion")


HOLD = "import sys; from filelock import FileLock as L; l = L(sys.argv[1]); l.acquire(); print(flush=True); input()"


def test_who_waits_for_another_process_says_so(user_cache, monkeypatch, caplog):
    user_cache.mkdir()
    lock = user_cache / "mnist.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()

    warn = mnist.LOG.warning

    def then_release(*words):
        warn(*words)
        other.communicate(b"\n")

    monkeypatch.setattr(mnist.LOG, "warning", then_release)
    monkeypatch.setattr(torchvision_mnist.MNIST, "__init__", lambda self, folder, download: None)
    with pytest.raises(DataError, match="is missing"):
        load("full")
    assert f"waiting for another process that downloads MNIST and holds {lock}" in caplog.text


# What VAELIB_DATA names


def no_folder(folder):
    return folder / "none"


def a_file(folder):
    (folder / "file").touch()
    return folder / "file"


def an_empty_folder(folder):
    return folder


def folders_for_files(folder):
    for file in mnist.TORCHVISION["full"][1].values():
        (folder / "MNIST" / "raw" / file.name).mkdir(parents=True)
    return folder


def nobodys_home(folder):
    return "~nobody-of-that-name/data"


@pytest.mark.parametrize("kind", [no_folder, a_file, an_empty_folder, folders_for_files, nobodys_home])
def test_a_folder_of_data_that_is_none_is_named(kind, tmp_path, monkeypatch):
    named = kind(tmp_path)
    monkeypatch.setenv("VAELIB_DATA", str(named))
    with pytest.raises(DataError, match=r"is missing|cannot be read|home directory") as caught:
        load("full")
    assert str(named) in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_name_is_none(user_cache, monkeypatch, proxy):
    monkeypatch.setenv("VAELIB_DATA", "")
    proxy(b"", hang_up=True)
    with pytest.raises(DataError, match=f"could not be downloaded into {user_cache}"):
        load("full")
