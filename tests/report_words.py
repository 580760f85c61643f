"""What a reader of a page meets: its text, without tags."""

from __future__ import annotations

from html.parser import HTMLParser


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def words(page: str) -> str:
    """The text of a page, with single spaces."""
    parser = _Words()
    parser.feed(page)
    return " ".join(" ".join(parser.said).split())
