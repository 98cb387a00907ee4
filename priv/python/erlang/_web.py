"""What the Erlang module ``py_web`` calls: an application is loaded, and answers on the context's connections."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import threading
from asyncio.base_events import _run_until_complete_cb  # type: ignore[attr-defined]

from ._tasks import spawn_task
from ._web_asgi import AsgiService
from ._web_reactor import ReactorConnection
from ._web_service import Limits
from ._web_wsgi import WsgiService
from .reactor import set_protocol_factory

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How extension modules say that they work in the main interpreter only.
_ONLY_MAIN = re.compile(
    r"subinterpreter|once per interpreter process|one interpreter per process",
    re.IGNORECASE,
)


class _Local(threading.local):
    # In mode worker several contexts share an interpreter, each with a thread of its own.
    service: AsgiService | WsgiService | None = None
    root: asyncio.Task[None] | None = None


_local = _Local()


async def start(kind: str, target: str, options: dict[str, Any]) -> None:
    """Load the application, let it start, and have it answer."""
    app = _load(target)
    if options["factory"]:
        app = app()
    loop = asyncio.get_running_loop()
    limits = Limits(
        max_head=options["max_head"],
        max_body=options["max_body"],
        head_timeout=_seconds(options["head_timeout"]),
        body_timeout=_seconds(options["body_timeout"]),
        idle_timeout=_seconds(options["keep_alive_timeout"]),
        ping_interval=_seconds(options["ping_interval"]),
    )
    _check(kind, target, app)
    service: AsgiService | WsgiService
    if kind == "asgi":
        service = AsgiService(
            app, loop, limits, options["root_path"], options["max_message"]
        )
    else:
        service = WsgiService(
            app, loop, limits, options["root_path"], options["threads"]
        )
    await service.startup()
    _local.service = service
    _local.root = spawn_task(_stay())
    set_protocol_factory(lambda: ReactorConnection(service))


async def stop() -> None:
    """Let the application clean up, now that its connections have ended."""
    root, _local.root = _local.root, None
    if root is not None:
        root.cancel()
    service, _local.service = _local.service, None
    if service is not None:
        service.stop()
        await service.shutdown()


async def _stay() -> None:
    """Be the task that the others hang on, until the application ends.

    A loop that was made by ``asyncio.run`` has such a task. AnyIO finds it by its callback, and has its threads live as
    long as it; without one each call in a thread begins and ends a thread.
    """
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(_run_until_complete_cb)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        # It would stop the loop.
        task.remove_done_callback(_run_until_complete_cb)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _load(target: str) -> Any:
    name, _, path = target.partition(":")
    if not name or not path:
        raise ValueError(
            f"an application is named like 'module:attribute', not {target!r}"
        )
    try:
        found: Any = importlib.import_module(name)
    except ImportError as error:
        if _ONLY_MAIN.search(str(error)) is None:
            raise
        raise ImportError(
            f"{target} needs {_culprit(error)}, an extension module that works in the main interpreter only: "
            "start it with mode => worker"
        ) from error
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found


def _culprit(error: ImportError) -> str:
    """Name the module that cannot be loaded here, or else the one that wanted it."""
    named = re.search(r"module (\S+) does not support", str(error))
    if named is not None:
        return named.group(1)
    if error.name is not None:
        return error.name
    last = "an unnamed one"
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if not name.startswith(("importlib", "erlang.")):
            last = name
        trace = trace.tb_next
    return last


def _check(kind: str, target: str, app: Any) -> None:
    """Find out about mistakes before the first request does."""
    if not callable(app):
        raise TypeError(
            f"{target} is no application: {type(app).__name__} objects cannot be called"
        )
    wanted, other = (3, 2) if kind == "asgi" else (2, 3)
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        # It does not tell.
        return
    if not _takes(signature, wanted):
        is_other = _takes(signature, other)
        hint = f": it may be one for {'wsgi' if kind == 'asgi' else 'asgi'} => ..."
        raise TypeError(
            f"{target} is no {kind.upper()} application, which takes {wanted} arguments{hint if is_other else ''}"
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
