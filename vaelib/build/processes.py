r"""Processes that outlive nobody and wait in no silence. It needs Python alone, so that `make env` can use it.

As a program, `python processes.py WORDS LOG MINUTES COMMAND...` runs a command with its output in a file, and says now
and then how far it is; what it returns is what the command returned, or 124 after that many minutes.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import FrameType

#: Seconds between two lines of a work that goes on.
PATIENCE = 15.0
#: Seconds that a process which is to end has for it, before it is ended.
GRACE = 10.0
#: The signals that end a command in order.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What a command returns that took too long, as that of the command `timeout`.
TOO_LONG = 124
#: What shells return for a command that cannot be run.
NOT_FOUND = 127
#: Names the make that all of this is for, in the environment.
MAKE_PID = "BOOK_MAKE_PID"
#: What Sphinx says of how far it is, and the colours in which it does.
PERCENT = re.compile(r"([a-z ]+)\.\.\. *\[ *(\d+)%\]")
COLOUR = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
#: Its phases that take time, one after the other.
PHASES = ("reading sources", "writing output")


class EndedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end a command as Ctrl-C does: what it began is taken back."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP raise `EndedError`, and end where the make that started all this is gone."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, _raise)
    if (make := os.environ.get(MAKE_PID, "")).isdigit():
        end_with(lambda: _exists(int(make)))


def end_with(alive: Callable[[], bool]) -> None:
    """End this process, in order if it can be, once that is no longer true."""
    Thread(target=_watch, args=[alive], daemon=True).start()


def _watch(alive: Callable[[], bool]) -> None:
    while alive():
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise EndedError(number)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another's
        return True
    return True


@contextmanager
def now_and_then(say: Callable[[], object]) -> Iterator[None]:
    """Call `say` whenever `PATIENCE` has passed, beside what is done meanwhile."""
    ended = Event()

    def talk() -> None:
        while not ended.wait(PATIENCE):
            say()

    talker = Thread(target=talk, daemon=True)
    talker.start()
    try:
        yield
    finally:
        ended.set()
        talker.join()


def time_left(began: float, done: float, total: float) -> str:
    """How long the rest takes if it goes on like this, in words; empty before anything is done."""
    seconds = (time.monotonic() - began) * (total - done) / done if done else 0.0
    about = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    return f", about {about} left" if done else ""


def attended(words: str, log: Path, minutes: float, command: Sequence[str]) -> int:
    """Run a command with its output in `log` and say now and then how far it is; it ends when we do.

    What takes longer than so many minutes is ended with a word, and `TOO_LONG` is returned.
    """
    began = time.monotonic()

    def say() -> None:
        print(f"{words}: {time.monotonic() - began:.0f} s{_how_far(log, began)}", flush=True)

    libc, us = ctypes.CDLL(None) if sys.platform == "linux" else None, os.getpid()

    def begin() -> None:
        """In the process that becomes the command: where the system can, it dies with a parent that was killed."""
        if libc:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != us:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    with log.open("wb") as output:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until we know whom to end
        try:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=begin)
        except OSError:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            raise
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            with now_and_then(say):
                return process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            print(f"{words}: ended after {minutes:g} minutes: {command[0]}", file=sys.stderr)
            return TOO_LONG
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _how_far(log: Path, began: float) -> str:
    """From the end of a log: what Sphinx, which first reads and then writes, says in percent, else the last line."""
    tail = COLOUR.sub("", log.read_bytes()[-4000:].decode(errors="replace"))
    if found := PERCENT.findall(tail):
        phase, percent = found[-1][0].strip(), int(found[-1][1])
        done = 100 * PHASES.index(phase) + percent if phase in PHASES else 0
        return f", {phase} {percent} %{time_left(began, done, 100 * len(PHASES))}"
    lines = [line.strip() for line in re.split(r"[\r\n]+", tail) if line.strip()]
    return f", {lines[-1][:80]}" if lines else ""


def main(arguments: Sequence[str]) -> int:
    """The program."""
    words, log, minutes, *command = arguments
    end_in_order()
    try:
        return attended(words, Path(log), float(minutes), command)
    except OSError as error:
        print(f"{words}: {command[0]} cannot be run ({error.strerror})", file=sys.stderr)
        return NOT_FOUND
    except KeyboardInterrupt as ended:
        return getattr(ended, "status", 130)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
