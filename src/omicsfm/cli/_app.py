"""The application: its commands, and how it ends. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from cyclopts import App, CycloptsError

from omicsfm import InputError, OmicsfmWarning, __version__
from omicsfm.cli import _bench, _data, _model, _sequence

_HELP = """Any mixture of omics as one MuData in; cell states, missing modalities and labels with uncertainty out.

Files may be .h5mu, .zarr, .h5ad or 10x .h5. Exit codes: 0 done, 2 bad input (one line holds the fix), 130 interrupted.
"""

app = App(name="omicsfm", help=_HELP, version=__version__, help_format="plaintext", suppress_keyboard_interrupt=False)
app.command(_bench.demo)
app.command(_model.check)
app.command(_model.fit)
app.command(_model.embed)
app.command(_model.impute)
app.command(_model.annotate)
app.command(_model.info)
app.command(_sequence.embed_sequence)
app.command(_bench.bench)
app.command(_bench.report)
data = App(name="data", help="Data sets of the registry: list them, fetch them, verify their files.")
data.command(_data.list_, name="list")
data.command(_data.info)
data.command(_data.fetch)
data.command(_data.verify)
app.command(data)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def _fail(message: object) -> int:
    print(f"omicsfm: {_one_line(message)}", file=sys.stderr)
    return 2


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as one line, without the place in the code."""
    print(f"omicsfm: warning: {_one_line(message)}", file=sys.stderr)


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """Let a polite kill (SIGTERM) unwind the stack as Ctrl-C does, so that temporary files go; exit code 143."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; default those of the process.

    Returns
    -------
    Exit code: 0; 2 for bad input; 130 after Ctrl-C; 141 if whoever read the output stopped reading.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    with _cleaning_up(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries say to developers
        warnings.simplefilter("always", OmicsfmWarning)
        warnings.showwarning = _warn
        try:
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except CycloptsError as err:
            command = " ".join(["omicsfm", *(err.command_chain or ())])
            return _fail(f"{err} Fix: see {command} --help")
        except InputError as err:
            return _fail(err)
        except KeyboardInterrupt:
            print("omicsfm: interrupted; nothing was replaced", file=sys.stderr)
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
            return 141
        except OSError as err:
            if err.errno is None:  # no mishap of the system: a defect, whose traceback is wanted
                raise
            where = f": '{err.filename}'" if err.filename is not None else ""
            return _fail(f"{err.strerror}{where}. Fix: check the path, its permissions and the free space.")
