"""The command line. Commands are thin: they parse options, call the API, print.

Exit codes: 0 done, 1 an error in what was given, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing takes a while to import, in which Ctrl-C would end in a traceback
if TYPE_CHECKING:
    from typing import NoReturn

    from fractal_dsl.language.diagnostics import FracError

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looking for some takes a twentieth of a `check`


def run() -> NoReturn:
    """The process ``fractal-dsl``. Where nothing is left to wait for, it ends at once, as mypy does: to take what was
    imported to pieces is a fifth of a `check`."""
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    if isinstance(code, int) and not {"torch", "multiprocessing"} & sys.modules.keys():
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line; whatever goes wrong ends in a message, not in a traceback."""
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
            if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]  # it is, where it was closed
                sys.stdout.flush()  # what cannot be written is told here, not when Python ends
    except FracError as error:
        _fail(_summary(error))
    except UserError as error:
        _fail(terminal(f"error: {error}"))
    except BrokenPipeError:  # the reader of our output, `head` perhaps, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        _fail(terminal(f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")))
    except MemoryError:
        _fail("error: out of memory: lower the parameters, the batch, or --max-layers")
    except Exception as error:
        if os.environ.get("FRACTAL_DSL_TRACEBACK"):
            import traceback

            traceback.print_exc()
        _fail(
            f"internal error: {type(error).__name__}: {terminal(str(error))}\n"
            "This is a bug in fractal_dsl. FRACTAL_DSL_TRACEBACK=1 shows where it happened; please report it."
        )


def _summary(error: FracError) -> str:
    from fractal_dsl.base.texts import counted
    from fractal_dsl.cli.say import coloured, warnings_text

    found = [error.text(colour=coloured()), counted(len(error.diagnostics) + error.cut, "error")]
    if error.warnings:
        found = [warnings_text(error.warnings), found[0], f"{found[1]}, {counted(len(error.warnings), 'warning')}"]
    return "\n\n".join(found)


def _fail(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)
