"""The page in a real browser and a real parser: nothing that an attacker wrote becomes a part of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import look
from hostile_strings import SURROGATES, hostile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from told_state import tell

from monitor.report.make import trial_keys, write_report
from monitor.report.material import gather
from monitor.report.page import render

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUNS = (
    '</script></style></svg></title><script>document.title="owned"</script>'
    "<img src=http://evil.example/ onerror=console.error(1)>"
)
QUOTES = "\" ' onload=alert(1) style=x <a href=javascript:alert(1)>"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


class Skeleton(HTMLParser):
    """Tags with their attributes' names in order, comments and instructions; of pictures, which there are at all.

    How many marks an axis has depends on how much room its labels leave.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.links: list[str] = []
        self.drawn: set[str] = set()
        self._drawing = False

    def add(self, part: str) -> None:
        self._drawing |= part.startswith("svg")
        if self._drawing:
            self.drawn.add(part)
        else:
            self.parts.append(part)
        self._drawing &= part != "/svg"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.add(" ".join([tag, *(name for name, _ in attrs)]))
        self.links += [
            value or "" for name, value in attrs if name in {"href", "src", "xlink:href", "action", "srcset"}
        ]

    def handle_endtag(self, tag: str) -> None:
        self.add(f"/{tag}")

    def handle_comment(self, data: str) -> None:  # noqa: ARG002 - that there is one is enough
        self.add("comment")

    def handle_pi(self, data: str) -> None:  # noqa: ARG002 - likewise
        self.add("instruction")


def skeleton(page: str) -> Skeleton:
    parser = Skeleton()
    parser.feed(page)
    parser.close()
    return parser


def page(folder: Path, text: str) -> str:
    return render(gather(tell(folder, text), "49f0", lambda: trial_keys(folder)), NOW)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    return skeleton(page(tmp_path_factory.mktemp("plain"), "plain"))


def check(found: Skeleton, plain: Skeleton) -> None:
    assert found.parts == plain.parts
    assert found.drawn <= plain.drawn
    assert all(link.startswith("#") for link in found.links)


@pytest.mark.parametrize(
    "text", [RUNS, QUOTES, "$\\frac{1}$ ${x} {{7*7}} {% raw %}", "\u202e\x1b[2J\x00", "x" * 1_000_000]
)
def test_hostile_text_changes_nothing_but_text(tmp_path: Path, plain: Skeleton, text: str) -> None:
    told = page(tmp_path, text)
    check(skeleton(told), plain)
    assert len(told) < 400_000
    assert not any(character in told for character in "\u202e\x1b\x00")


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(min_size=1), st.sampled_from([*hostile(80, 3), *SURROGATES[:1]])).filter(str.strip))
def test_whatever_the_text_the_page_is_made_of_the_same_parts(
    tmp_path_factory: pytest.TempPathFactory, plain: Skeleton, text: str
) -> None:
    text = text.encode("utf-8", "replace").decode()
    if text in {"port", "bytes", "service", "b"}:
        return  # a feature or source that is there already
    check(skeleton(page(tmp_path_factory.mktemp("page"), text)), plain)


def test_the_browser_would_show_what_the_page_must_not_do(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{RUNS}<script>console.error('boom')</script>")
    seen = look(bad, tmp_path / "browser")
    assert any("boom" in line for line in seen.console)
    assert seen.asked == ("http://evil.example/",)
    assert "<title>owned</title>" in seen.dom


@pytest.mark.parametrize("text", ["", RUNS, QUOTES])
def test_nothing_runs_nothing_is_asked_and_the_console_stays_empty(tmp_path: Path, text: str) -> None:
    out = write_report(tell(tmp_path, text), "49f0", tmp_path / "page.html")
    seen = look(out, tmp_path / "browser")
    assert (seen.console, seen.asked) == ((), ())
    assert "<title>Incident 49f0600e: poisoning (backdoor)</title>" in seen.dom
    without_policy = tmp_path / "open.html"
    without_policy.write_text(POLICY.sub("", out.read_text()))
    seen = look(without_policy, tmp_path / "browser")
    assert (seen.console, seen.asked) == ((), ())


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("text", ["", "x" * 5000])
def test_the_page_is_as_wide_as_the_screen_and_has_a_picture(tmp_path: Path, width: int, text: str) -> None:
    out = write_report(tell(tmp_path, text), "49f0", tmp_path / "page.html")
    assert overflow(out, tmp_path, width) == 0
    picture = tmp_path / "page.png"
    look(out, tmp_path / "browser", width, 3000, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_longest_names_of_versions_fit_in(tmp_path: Path, width: int) -> None:
    state, name = tell(tmp_path), f'"{"w" * 128}"'
    for lines in (state / "windows.ndjson", state / "incidents.ndjson"):
        lines.write_text(lines.read_text().replace('"1"', name).replace('"version":"2"', f'"version":{name}'))
    assert overflow(write_report(state, "49f0", tmp_path / "page.html"), tmp_path, width) == 0


def overflow(out: Path, folder: Path, width: int) -> int:
    """By how much a page is wider than a screen of that width."""
    measured = folder / "measured.html"
    script = "<script>parent.postMessage(`${document.documentElement.scrollWidth},${innerWidth}`, '*')</script></body>"
    measured.write_text(POLICY.sub("", out.read_text()).replace("</body>", script))
    frame = folder / "frame.html"  # a window cannot be made as narrow as a telephone
    frame.write_text(
        "<!doctype html><title></title><script>onmessage = told => document.title = told.data</script>"
        f'<iframe src="measured.html" width="{width}" height="800" style="border: 0"></iframe>'
    )
    told = re.search(r"<title>([0-9]+),([0-9]+)</title>", look(frame, folder / "browser", 1400).dom)
    assert told is not None
    assert int(told[2]) == width
    return int(told[1]) - width


def test_a_screen_reader_finds_its_way(tmp_path: Path) -> None:
    told = page(tmp_path, "plain")
    assert '<html lang="en">' in told
    assert len(re.findall(r"<h1", told)) == 1
    assert re.findall(r"<svg (?!role=\"img\" aria-label=\"[^\"]+\")", told) == []
    for table in re.findall(r"<table.*?</table>", told, re.DOTALL):
        assert "<caption>" in table
        assert "<th scope" in table
    assert [int(level) for level in re.findall(r"<h([1-6])", told)][:2] == [1, 2]
    assert re.findall(r"<h([4-6])", told) == []
    assert '<a class="skip" href="#main">' in told
    assert '<main id="main"' in told
    assert '<time datetime="2026-01-01T21:09:26Z">2026-01-01 21:09:26 UTC</time>' in told
    assert [label for label in re.findall(r"<th(?=[ >])[^>]*>", told) if "scope=" not in label] == []
    ids = re.findall(r'\bid="([^"]+)"', told)
    assert len(ids) == len(set(ids))
    for label in re.findall(r'aria-labelledby="([^"]+)"', told):
        assert f'id="{label}"' in told
