"""The selector of an event loop: what is watched is known here, the waiting is native."""

from __future__ import annotations

from collections.abc import Mapping
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator
    from typing import Any

    from _typeshed import FileDescriptorLike

_BOTH = EVENT_READ | EVENT_WRITE


class Selector(BaseSelector):
    """A set of descriptors that one loop watches."""

    #: Closed, or never opened.
    _handle = 0

    def __init__(self) -> None:
        self._handle = _erlang.loop_open()
        self._keys: dict[int, SelectorKey] = {}
        self._map: _Map | None = _Map(self._keys)
        #: Waiting ends early when the loop has something to do.
        self.loop: AbstractEventLoop | None = None

    @property
    def handle(self) -> int:
        """The number of the poll set, for whoever wakes it."""
        return self._handle

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> SelectorKey:
        """Watch a descriptor."""
        if not events or events & ~_BOTH:
            raise ValueError(f"Invalid events: {events!r}")
        fd = _descriptor(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        _erlang.loop_add(self._handle, fd, events)
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        """Watch a descriptor no longer. It may be closed already."""
        key = self._keys.pop(self._number(fileobj))
        _erlang.loop_remove(self._handle, key.fd)
        return key

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> SelectorKey:
        """Watch a descriptor for something else, or on behalf of somebody else.

        A file that was closed while it was watched has left the set, and its number may be another file's by now. Then
        what was to be told of the one before is dropped: ``data`` is a loop's pair of handles.
        """
        if not events or events & ~_BOTH:
            raise ValueError(f"Invalid events: {events!r}")
        key = self._keys[self._number(fileobj)]
        fd = key.fd
        # Those who come to read or write are asked for anew even if the events stay the same: nothing else tells
        # that the file has changed.
        if events != key.events or _is_new(key.data, data):
            try:
                same = _erlang.loop_modify(self._handle, fd, events)
            except OSError:
                del self._keys[fd]
                _erlang.loop_remove(self._handle, fd)
                raise
            if not same:
                events, data = _without_stale(key.data, events, data)
                if not events:
                    del self._keys[fd]
                    _erlang.loop_remove(self._handle, fd)
                    return SelectorKey(fileobj, fd, events, data)
                _erlang.loop_modify(self._handle, fd, events)
        changed = self._keys[fd] = SelectorKey(key.fileobj, fd, events, data)
        return changed

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait, and give what is ready."""
        return _erlang.loop_wait(self._handle, timeout, self._keys, self.loop)

    def get_key(self, fileobj: FileDescriptorLike) -> SelectorKey:
        """Give what is known of a descriptor; a KeyError if it is not watched."""
        return self._keys[self._number(fileobj)]

    def get_map(self) -> Mapping[FileDescriptorLike, SelectorKey]:
        """Give all that is watched."""
        return self._map  # type: ignore[return-value]

    def close(self) -> None:
        """Watch nothing any more."""
        handle, self._handle = self._handle, 0
        if handle:
            self.loop = self._map = None
            self._keys.clear()
            _erlang.loop_close(handle)

    # As with the selectors of the standard library, dropping the last reference is enough.
    __del__ = close

    def _number(self, fileobj: FileDescriptorLike) -> int:
        if type(fileobj) is int:
            return fileobj
        return _number(self._keys, fileobj)


class _Map(Mapping["FileDescriptorLike", SelectorKey]):
    """Keys by descriptor, or by whatever has one."""

    def __init__(self, keys: dict[int, SelectorKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __getitem__(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._keys[_number(self._keys, fileobj)]

    def get(self, fileobj: Any, default: Any = None) -> Any:
        """Give the key of a descriptor that is watched."""
        if type(fileobj) is int:
            return self._keys.get(fileobj, default)
        return super().get(fileobj, default)


def _descriptor(fileobj: FileDescriptorLike) -> int:
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


def _number(keys: dict[int, SelectorKey], fileobj: FileDescriptorLike) -> int:
    try:
        return _descriptor(fileobj)
    except ValueError:
        # Closed, and so without its number.
        for key in keys.values():
            if key.fileobj is fileobj:
                return key.fd
        raise


def _is_new(before: Any, now: Any) -> bool:
    if type(before) is tuple and type(now) is tuple and len(before) == len(now):
        return any(
            new is not None and new is not old
            for old, new in zip(before, now, strict=True)
        )
    return before is not now


def _without_stale(before: Any, events: int, data: Any) -> tuple[int, Any]:
    """Drop the handles that were there before the file had become another one."""
    if not (type(before) is tuple and type(data) is tuple and len(data) == 2):
        return events, data
    kept = []
    for event, old, new in zip((EVENT_READ, EVENT_WRITE), before, data, strict=True):
        if old is not None and new is old:
            old.cancel()
            new = None
        if new is None:
            events &= ~event
        kept.append(new)
    return events, tuple(kept)
