"""What the pages about SIEMs hold: their blocks, and the names of fields in them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "siem").glob("*.md"))
SAMPLES = ROOT / "docs" / "siem" / "samples"
PATH = re.compile(r"(?<![\w./\"'-])@?[a-z_]+(?:\{\})?(?:\.[a-z_]+(?:\{\})?)+(?![\w/])")
"""A dotted name, as Splunk, Elastic and SQL write fields of documents."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the page that it is on."""

    page: str
    language: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    for found in re.finditer(r"^```([\w-]*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        yield Block(path.name, found[1], found[2])


def every(*languages: str) -> list[Block]:
    """Blocks of these languages on all pages."""
    pages = [*PAGES, ROOT / "docs" / "siem.md"]
    return [block for path in pages for block in blocks(path) if block.language in languages]


def named(page: str, *languages: str) -> str:
    """The text of a page's blocks in these languages."""
    found = [block.text for block in blocks(ROOT / "docs" / "siem" / page) if block.language in languages]
    assert found, f"{page} has no such block"
    return "\n".join(found)


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / f"{name}.txt").read_text())
    return found


def paths(found: Any, at: str = "") -> set[str]:
    """The dotted names of all fields and of all that hold fields; lists do not count."""
    if isinstance(found, list):
        return {name for item in found for name in paths(item, at)} | {at}
    if not isinstance(found, dict):
        return {at}
    below = {name for key, value in found.items() for name in paths(value, f"{at}.{key}" if at else key)}
    return below | ({at} if at else set())


def fields(query: str) -> set[str]:
    """The dotted names in a query, without Splunk's marks of lists."""
    return {name.replace("{}", "") for name in PATH.findall(query)}


def part_of(part: Any, whole: Any) -> bool:
    """Whether the document ``whole`` says all that ``part`` says."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(key in whole and part_of(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(part_of(item, other) for other in whole) for item in part)
    return bool(part == whole)


class WazuhRules:
    """A file of rules as Wazuh's engine goes through them, as far as these rules need it."""

    def __init__(self, path: Path) -> None:
        self._rules = list(ET.parse(path).getroot().iter("rule"))  # noqa: S314 - a file of ours

    @property
    def names(self) -> set[str]:
        """Every field that they ask for or show."""
        asked = {field.attrib["name"] for rule in self._rules for field in rule.iter("field")}
        shown = {name for rule in self._rules for name in re.findall(r"\$\((.*?)\)", rule.findtext("description", ""))}
        return asked | shown

    def fires(self, event: Mapping[str, Any]) -> tuple[str, int]:
        """Id and level of the rule that an event comes to; exactly one child of a rule may match."""
        top = [rule for rule in self._rules if rule.find("if_sid") is None and self._matches(rule, event)]
        assert len(top) == 1
        found = top[0]
        while below := [r for r in self._rules if r.findtext("if_sid") == found.get("id") and self._matches(r, event)]:
            assert len(below) == 1, [rule.get("id") for rule in below]
            found = below[0]
        return found.attrib["id"], int(found.attrib["level"])

    def _matches(self, rule: ET.Element, event: Mapping[str, Any]) -> bool:
        return all(self._holds(field, event) for field in rule.iter("field"))

    def _holds(self, field: ET.Element, event: Mapping[str, Any]) -> bool:
        value: Any = event
        for part in field.attrib["name"].split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        pattern = (field.text or "").replace("\\.", ".")  # OS_Regex: \. is any character
        found = value is not None and re.search(pattern, str(value)) is not None
        return found != (field.get("negate") == "yes")
