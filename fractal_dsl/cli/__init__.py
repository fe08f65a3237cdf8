"""The command line. Commands are thin: they parse options, call the API and print.

In: the words of a command line. Out: text, JSON or files, and an exit code.
Not imported here: torch, except inside the commands that need it. No folder imports this one.

Exit codes: 0 success, 1 an error in the input, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # importing typing takes time, and Ctrl-C meanwhile would print a traceback
if TYPE_CHECKING:
    from typing import NoReturn

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # searching for plugins takes 5% of a `check`


def run() -> NoReturn:
    """Run the process ``fractal-dsl``. Exit at once, as mypy does, unless threads or child processes may be left.

    Python's own cleanup takes a fifth of the time of a `check`.
    """
    gc.set_threshold(1_000_000)  # collecting garbage takes a fourteenth of a `check`; other commands lower this
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    if isinstance(code, int) and not {"torch", "multiprocessing"} & sys.modules.keys():
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line. Any failure ends with a message, not a traceback."""
    try:
        _main()
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _main() -> None:
    from fractal_dsl.base.errors import UserError
    from fractal_dsl.base.escaping import terminal
    from fractal_dsl.language.diagnostics import FracError

    try:
        from fractal_dsl.cli.app import app

        try:
            app()
        finally:
            if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]  # it is None if it was closed
                sys.stdout.flush()  # report a failed write here, not when Python exits
    except (FracError, UserError) as error:
        from fractal_dsl.cli.say import failure_text

        _fail(failure_text(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        _fail(terminal(f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")))
    except MemoryError:
        _fail("error: out of memory: reduce the parameters, the batch, or --max-layers")
    except Exception as error:
        if os.environ.get("FRACTAL_DSL_TRACEBACK"):
            import traceback

            traceback.print_exc()
        _fail(
            f"internal error: {type(error).__name__}: {terminal(str(error))}\n"
            "This is a bug in fractal_dsl. Please report it with the traceback, which FRACTAL_DSL_TRACEBACK=1 prints."
        )


def _fail(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)
