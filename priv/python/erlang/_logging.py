"""Python's ``logging`` and Erlang's logger.

Imported together with ``logging``, whose last resort is Erlang's logger from then on: what no handler takes goes there from
``WARNING`` up. ``setup_logging`` sends it everything.

Replaced, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``logging.Logger.isEnabledFor``, so that no record is made that
Erlang does not want; ``logging.basicConfig``, which ``logging.error`` and the like call, and which would have everything
printed from then on; and ``logging.lastResort``.
"""

from __future__ import annotations

import atexit
import copy
import logging

import _erlang

from ._hooks import clean, log

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What Erlang calls levels for which Python has no name.
_NAMES = {
    "NOTICE": 25,
    "ALERT": 60,
    "EMERGENCY": 70,
    "ALL": logging.NOTSET,
    "NONE": 1_000,
}

#: The attributes that every record has.
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}

#: How deep values of ``extra`` are told.
_DEPTH = 8


class ErlangHandler(logging.Handler):
    """Hands records on to Erlang's logger."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record."""
        try:
            exc_info = record.exc_info
            error = exc_info[1] if isinstance(exc_info, tuple) else None
            text = self._text(record)
            extra = {
                clean(str(name)): _plain(value, _DEPTH)
                for name, value in record.__dict__.items()
                if name not in _USUAL
            }
            thread = record.threadName
            log(
                record.levelno,
                record.name,
                text,
                file=record.pathname,
                line=record.lineno or 0,
                function=record.funcName,
                created=record.created,
                error=error,
                extra=extra,
                thread=None if thread == "MainThread" else thread,
            )
        except Exception:  # noqa: BLE001
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> str:
        if self.formatter is None:
            text = record.getMessage()
        else:
            # The exception goes along by itself.
            bare = copy.copy(record)
            bare.exc_info = bare.exc_text = bare.stack_info = None
            text = self.formatter.format(bare)
        return f"{text}\n{record.stack_info}" if record.stack_info else text


def _plain(value: Any, depth: int) -> Any:
    """Make of a value what every process can read."""
    kind = type(value)
    if value is None or kind in (bool, int, float, bytes):
        return value
    if kind is str:
        return clean(value)
    if isinstance(value, (_erlang.Atom, _erlang.Pid, _erlang.Ref, _erlang.Port)):
        return value
    if depth and kind in (list, tuple, set, frozenset):
        return [_plain(element, depth - 1) for element in value]
    if depth and kind is dict:
        return {
            clean(str(key)): _plain(element, depth - 1)
            for key, element in value.items()
        }
    return clean(str(value))


def _number(level: int | str) -> int:
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    if not isinstance(level, str):
        raise TypeError(f"a level is an int or a str, not {type(level).__name__}")
    name = level.upper()
    number = _NAMES.get(name, logging.getLevelNamesMapping().get(name))
    if number is None:
        raise ValueError(f"there is no level {level!r}")
    return number


class _Setup:
    """How logging is set up in this interpreter."""

    def __init__(self) -> None:
        #: How often that was asked for from Erlang.
        self.seen = 0
        self.handler: ErlangHandler | None = None
        self.is_from_erlang = False

    def catch_up(self) -> None:
        """Do what ``py:configure_logging`` has asked for since."""
        self.seen = _erlang.log_setups()
        wanted = _erlang.log_setup()
        if wanted is None:
            if self.is_from_erlang:
                self.unset()
        else:
            level, format = wanted
            try:
                self.set(level, format)
            except ValueError as error:
                self.set(level, None)
                log(30, "erlang", f"the format {format!r} is not used: {error}")
            self.is_from_erlang = True

    def unset(self) -> None:
        """Leave logging as Python begins with it."""
        root = logging.getLogger()
        if self.handler is not None:
            root.removeHandler(self.handler)
        root.setLevel(logging.WARNING)
        self.handler, self.is_from_erlang = None, False

    def set(self, level: int, format: str | None) -> None:
        handler = ErlangHandler()
        if format is not None:
            handler.setFormatter(logging.Formatter(format))
        root = logging.getLogger()
        root.addHandler(handler)
        self.keep(handler)
        root.setLevel(level)

    def keep(self, handler: ErlangHandler) -> None:
        """Have one handler of the root that was set up: with two, each record would come twice."""
        before, self.handler = self.handler, handler
        self.is_from_erlang = False
        if before is not None:
            logging.getLogger().removeHandler(before)


_setup = _Setup()


def restore() -> None:
    """Leave logging as Python begins with it, for the next user of the interpreter.

    Handlers were closed by ``logging.shutdown``, which ran as an exit handler. What does nothing stays: libraries put it there.
    """
    root = logging.getLogger()
    for logger in list(root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            _restore(logger, logging.NOTSET)
    _restore(root, logging.WARNING)
    logging.disable(logging.NOTSET)
    logging.captureWarnings(False)
    atexit.register(logging.shutdown)
    _setup.handler, _setup.is_from_erlang, _setup.seen = None, False, 0


def _restore(logger: logging.Logger, level: int) -> None:
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.NullHandler):
            logger.removeHandler(handler)
    logger.filters.clear()
    logger.propagate, logger.disabled = True, False
    logger.setLevel(level)


def setup_logging(level: int | str = logging.NOTSET, format: str | None = None) -> None:
    """Send what is logged in this interpreter to Erlang's logger, from a level up; by default Erlang's levels decide.

    ``format`` is one of ``logging.Formatter``. Without it a record's message is sent as it is.
    """
    _setup.set(_number(level), format)


_is_enabled_for = logging.Logger.isEnabledFor


def _is_enabled_in_erlang(self: logging.Logger, level: int) -> bool:
    if _setup.seen != _erlang.log_setups():
        _setup.catch_up()
    return _is_enabled_for(self, level) and (
        _erlang.log_allows(level, self.name) or _has_other_handlers(self)
    )


def _has_other_handlers(logger: logging.Logger) -> bool:
    one: logging.Logger | None = logger
    found = False
    while one is not None:
        for handler in one.handlers:
            found = True
            if not isinstance(handler, (ErlangHandler, logging.NullHandler)):
                return True
        one = one.parent if one.propagate else None
    return not found and not isinstance(logging.lastResort, ErlangHandler)


_basic_config = logging.basicConfig


def _basic_config_in_erlang(**options: Any) -> None:
    """Do basic configuration: with Erlang's logger, unless a ``stream``, a ``filename`` or ``handlers`` are given."""
    handler: ErlangHandler | None = None
    if not options.keys() & {"stream", "filename", "handlers"}:
        handler = ErlangHandler()
        if options.get("format") is None:
            # Erlang says by itself how bad it is, and whose.
            handler.setFormatter(logging.Formatter("%(message)s"))
        options["handlers"] = [handler]
    _basic_config(**options)
    if handler in logging.getLogger().handlers:
        _setup.keep(handler)


def _install() -> None:
    logging.Logger.isEnabledFor = _is_enabled_in_erlang  # type: ignore[method-assign]
    logging.basicConfig = _basic_config_in_erlang
    logging.lastResort = ErlangHandler(logging.WARNING)


_install()
