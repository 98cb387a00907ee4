"""Reads a web site, following its links: many requests at a time, on one event loop."""

import asyncio
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import erlang

READ = erlang.atom("read")


class Page(HTMLParser):
    """The title and the links of a page."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url = url
        self.title = ""
        self.links: list[str] = []
        self._in_title = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        href = dict(attributes).get("href")
        if tag == "a" and href:
            self.links.append(urljoin(self.url, href).partition("#")[0])

    def handle_endtag(self, _tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


async def fetch(url: str) -> tuple[int, str]:
    """Return the status and the text of a page."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split(b" ", 2)[1]), body.decode()


class Crawl:
    """What was found from one page on."""

    def __init__(self, start: str, at_once: int, observer: erlang.Pid | None) -> None:
        self.host = urlsplit(start).netloc
        self.observer = observer
        self.seen = {start}
        self.titles: dict[str, str] = {}
        self.broken: dict[str, Any] = {}
        self._turns = asyncio.Semaphore(at_once)

    async def run(self, start: str) -> dict[str, Any]:
        # The group ends when the last page has led nowhere new; cancelled, it cancels them all.
        async with asyncio.TaskGroup() as self.group:
            self.group.create_task(self.visit(start))
        return {"titles": self.titles, "broken": self.broken}

    async def visit(self, url: str) -> None:
        path = urlsplit(url).path
        async with self._turns:
            try:
                status, text = await fetch(url)
            except OSError as error:
                self.broken[path] = str(error)
                return
        if status != 200:
            self.broken[path] = status
            return
        page = Page(url, text)
        self.titles[path] = page.title
        if self.observer:
            erlang.send(self.observer, (READ, path))
        for link in page.links:
            if link not in self.seen and urlsplit(link).netloc == self.host:
                self.seen.add(link)
                self.group.create_task(self.visit(link))


async def crawl(start: str, at_once: int = 50, observer: erlang.Pid | None = None) -> dict[str, Any]:
    """Read all pages of the site that can be reached, telling the observer of each."""
    return await Crawl(start, at_once, observer).run(start)
