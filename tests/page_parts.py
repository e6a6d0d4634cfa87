"""A page to look at, and how a browser reads it: parsed, with its texts and nothing that a text turned into a tag."""

from dataclasses import replace
from html.parser import HTMLParser

from zcs_exporter.contract import EvidenceKind, Sample
from zcs_exporter.expose.status_page import Scene, render_page
from zcs_exporter.snapshot import Reading, Snapshot

NOW = 1_709_371_233.0
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def scene(*readings: Reading, own: tuple[Sample, ...] = (), **changes: object) -> Scene:
    base = Scene(
        host="mail.example.com",
        now=NOW,
        snapshot=Snapshot(1, NOW - 1, {each.collector: each for each in readings}, own),
        alarms=(),
        logs=(),
        recent=(),
        ready=True,
        visible=frozenset(EvidenceKind),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


class Page(HTMLParser):
    """A page's tags, texts and what is wrong with its nesting."""

    VOID = frozenset({"meta", "link", "input", "rect", "line"})

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.tags.append((tag, dict(attrs)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def show(*readings: Reading, own: tuple[Sample, ...] = (), **changes: object) -> str:
    return Page(render_page(scene(*readings, own=own, **changes))).text
