"""The command line's way in: its arguments, and the one place where errors end.

Guarantees: whatever happens is one message and an exit status, never a traceback; what is not
Stepwell's own error is kept whole in a file that the message names.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.errors import StepwellError

OPTIONS_WITH_VALUE = ("--database", "--config", "--log-format")
FLAGS = ("--verbose", "-v", "-vv")


def main() -> NoReturn:
    """Run the command that the arguments name, and exit."""
    # The rest is imported within, so that Ctrl-C is quiet from the first moment on. What is
    # imported stays: looking through it for garbage again and again takes a tenth of the start.
    gc.disable()
    try:
        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    import signal

    # Whoever presses Ctrl-C while Python tidies up sees no traceback either.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "stepwell.job.registry" not in sys.modules:
        # No code of the user's was imported: nobody needs Python to tidy up, which takes a while.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def call(arguments: Sequence[str]) -> int:
    """One call of the command line; answers its exit status."""
    from stepwell.cli.output import USAGE, Output, write_as_possible
    from stepwell.errors import StepwellError

    write_as_possible()
    output = Output(wants_json="--json" in arguments)
    try:
        from stepwell.cli.commands import command

        front, rest = global_options_first(arguments)
        answer = command(rest[0] if rest else None)(
            [*front, *rest], prog_name="stepwell", standalone_mode=False
        )
    except StepwellError as error:
        return output.problem(error)
    except Exception as error:  # noqa: BLE001 - here every error ends
        if not hasattr(error, "format_message"):
            return output.problem(_internal_error(error))
        usage = _usage_error(error)
        return output.problem(usage) if usage.message else USAGE
    return answer if isinstance(answer, int) else 0


def global_options_first(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The global options, wherever they were written, and the other arguments.

    No command has an option of these names, so ``stepwell status --database URL`` can only mean one
    thing.
    """
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest.append(word)
            break
        if word in OPTIONS_WITH_VALUE:
            front += [word, *(value for value in [next(words, None)] if value is not None)]
        elif word in FLAGS or word.partition("=")[0] in OPTIONS_WITH_VALUE:
            front.append(word)
        else:
            rest.append(word)
    return front, [*rest, *words]


def _usage_error(error: Exception) -> StepwellError:
    """Typer's own refusal, such as an unknown option, in our words; empty after a help text."""
    from stepwell.errors import Kind, StepwellError

    said = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    usage = StepwellError(
        said[:1].lower() + said[1:],
        hint=f"`{context.command_path if context else 'stepwell'} --help` shows what it takes",
    )
    usage.code, usage.kind = "usage_error", Kind.USAGE
    return usage


def _internal_error(error: Exception) -> StepwellError:
    """What is no error of Stepwell's: kept whole in a file, shown with a reference number."""
    import logging
    import tempfile
    import traceback
    from pathlib import Path

    from stepwell.clock import Clock
    from stepwell.errors import StepwellError

    reference = Clock().new_id()[:8]
    trace = "".join(traceback.format_exception(error))
    file = Path(tempfile.gettempdir()) / f"stepwell-{reference}.log"
    try:
        file.write_text(trace, encoding="utf-8", errors="backslashreplace")
    except OSError:
        logging.getLogger("stepwell.cli").error("internal error %s: %s", reference, trace)
        hint, fields = "please report it, with what was logged", {"reference": reference}
    else:
        hint = f"the whole of it is in {str(file)!r}, please report it"
        fields = {"reference": reference, "file": str(file)}
    logging.getLogger("stepwell.cli").info("internal error %s", reference, exc_info=error)
    internal = StepwellError(
        f"internal error {reference}: {type(error).__name__}: {error}", hint=hint, fields=fields
    )
    internal.code = "internal_error"
    return internal
