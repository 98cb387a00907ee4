"""What Python tells of by hooks, and would print: exceptions that nobody handles, and warnings. It goes to Erlang's logger.

This needs no ``logging``, which takes long to import.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, TextIO

    Error = tuple[str, str, str, list[tuple[str, int, str, str]], str]

#: So many frames of a traceback are told one by one, and so many characters of its text.
_FRAMES = 64
_TEXT = 32_768

_WARNING, _ERROR = 30, 40


def clean(text: str) -> str:
    """Make of a text what can be said in UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def described(error: BaseException) -> Error:
    """Tell of an exception what Erlang shall know: class, module, message, frames, traceback."""
    kind = type(error)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001
        message = "<the exception cannot be told>"
    text = f"{kind.__qualname__}: {message}"
    frames = []
    try:
        import traceback
    except ImportError:
        # The interpreter ends.
        pass
    else:
        frames = [
            (
                clean(frame.filename),
                frame.lineno or 0,
                clean(frame.name),
                clean(frame.line or ""),
            )
            for frame in traceback.extract_tb(error.__traceback__, -_FRAMES)
        ]
        try:
            text = "".join(traceback.format_exception(error)).rstrip("\n")
        except Exception:  # noqa: BLE001, S110
            pass
    if len(text) > _TEXT:
        text = f"{text[: _TEXT // 2]}\n  ...\n{text[-_TEXT // 2 :]}"
    return (
        clean(kind.__qualname__),
        clean(str(kind.__module__)),
        clean(message),
        frames,
        clean(text),
    )


def log(
    level: int,
    name: str,
    text: str,
    *,
    file: str | None = None,
    line: int = 0,
    function: str | None = None,
    created: float | None = None,
    error: BaseException | None = None,
    extra: dict[str, Any] | None = None,
    thread: str | None = None,
) -> None:
    """Send a record to Erlang's logger."""
    told = None if error is None else described(error)
    record = (
        level,
        clean(name),
        clean(text),
        None if file is None else clean(file),
        line,
        None if function is None else clean(function),
        int((time.time() if created is None else created) * 1_000_000),
        told,
        extra or {},
        None if thread is None else clean(thread),
    )
    _erlang.log(record, len(text) + (0 if told is None else len(told[4])))


def _excepthook(
    _kind: type[BaseException],
    error: BaseException,
    _traceback: TracebackType | None,
    /,
) -> None:
    log(_ERROR, "sys.excepthook", "Uncaught exception", error=error)


#: Threads that are telling of an exception, and how many more there were meanwhile.
_telling: dict[int, int] = {}


def _unraisablehook(unraisable: sys.UnraisableHookArgs, /) -> None:
    if isinstance(unraisable.exc_value, _erlang.Interrupted):
        return
    here = threading.get_ident()
    if here in _telling:
        # Telling of this one may come to others again, and has no end where memory is short: each import does.
        _telling[here] += 1
        return
    _telling[here] = 0
    try:
        _tell(unraisable)
    finally:
        more = _telling.pop(here)
    if more:
        log(
            _ERROR,
            "sys.unraisablehook",
            f"Exceptions ignored while that was told: {more}",
        )


def _tell(unraisable: sys.UnraisableHookArgs) -> None:
    error = unraisable.exc_value
    text = unraisable.err_msg or "Exception ignored in"
    if unraisable.object is not None:
        try:
            text = f"{text}: {unraisable.object!r}"
        except Exception:  # noqa: BLE001
            text = f"{text}: <object of {type(unraisable.object).__qualname__}>"
    if error is None:
        text = f"{text}: {unraisable.exc_type.__qualname__}"
    log(_ERROR, "sys.unraisablehook", text, error=error)


def _thread_excepthook(args: threading.ExceptHookArgs, /) -> None:
    if isinstance(args.exc_value, (SystemExit, _erlang.Interrupted)):
        return
    name = None if args.thread is None else args.thread.name
    text = f"Exception in thread {name or threading.get_ident()}"
    log(_ERROR, "threading.excepthook", text, error=args.exc_value, thread=name)


def _showwarning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None or sys.stderr is not sys.__stderr__:
        # Somebody has said where it shall go.
        _original_showwarning(message, category, filename, lineno, file, line)
        return
    text = f"{category.__name__}: {message}"
    if _erlang.log_allows(_WARNING, "py.warnings"):
        log(_WARNING, "py.warnings", text, file=filename, line=lineno)


_original_showwarning = warnings.showwarning


def install() -> None:
    """Let the hooks be these."""
    sys.excepthook = _excepthook
    sys.unraisablehook = _unraisablehook
    threading.excepthook = _thread_excepthook
    warnings.showwarning = _showwarning
