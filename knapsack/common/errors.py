"""One policy for what goes wrong: a sentence on stderr and an exit code, never a traceback.

1 run-time error     2 usage     3 bad data or a missing file     an interrupt ends the program by its signal
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn

LONGEST = 2000  # letters of a sentence


class ScriptError(Exception):
    """An error whose text is the sentence to print; the class says the exit code."""

    code = 1


class UsageError(ScriptError):
    code = 2


class DataError(ScriptError):
    code = 3


def run(main: Callable[[], int | None], program: str) -> int:
    """Call main; its exit code. `program` begins the sentence, such as 'knapsack text'. A main that has something to do
    at an interrupt catches KeyboardInterrupt itself; SIGTERM arrives as one, too."""

    def say(sentence: str, code: int) -> int:
        if len(sentence) > LONGEST:  # it quotes an input
            sentence = f"{sentence[: LONGEST // 2]} ... {sentence[-LONGEST // 2 :]}"
        print(f"{program}: {sentence}", file=sys.stderr)
        return code

    signal.signal(signal.SIGTERM, _interrupt)
    sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal has no letters for
    try:
        code = _call(main)
        _flush()
        return code
    except ScriptError as error:
        return say(str(error), error.code)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "knapsack":
            raise
        return say(f"the Python package '{package}' is missing; install it with: pip install {package}", 1)
    except BrokenProcessPool:
        return say("a worker process died, perhaps for want of memory; try fewer --workers", 1)
    except BrokenPipeError:  # such as `| head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        end_by(signal.SIGPIPE)
    except OSError as error:
        error = error if error.filename else _of_screen() or error
        return say(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)
    except MemoryError:
        return say("not enough memory", 1)
    except KeyboardInterrupt as interrupt:
        say("interrupted; unfinished files are removed", 1)
        end_by(interrupt.args[0] if interrupt.args else signal.SIGINT)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        return say(f"a fault of the program ({found}, in {place.filename}:{place.lineno}); please report it", 1)


def _call(main: Callable[[], int | None]) -> int:
    """A main's end by argparse, after --help (0) or a sentence of its own (2), is an end like others."""
    try:
        return main() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _of_screen() -> OSError | None:
    """Whether the screen is what cannot be written: what print() could not pass on is still to be flushed."""
    try:
        _flush()
    except OSError as error:
        return error
    return None


def _flush() -> None:
    """What was printed arrives, or that is the error; Python would try again at its end and complain on its own."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from None


def _interrupt(number: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt(number)


def end_by(number: int) -> NoReturn:
    """Ends this process by the signal, so that a shell's loop over commands ends too."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # where the signal is blocked
