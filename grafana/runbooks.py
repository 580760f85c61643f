"""Where the runbook of each alerting rule lies: what a panel links to."""  # noqa: INP001 - a script, no package

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, Self

import yaml
from panels import Json

OURS: Final = "docs/"
"""Where a rule names a page of this repository: it lies where the variable `docs` of the dashboards says."""
RULES_PAGE: Final = "/alerting/list?search={alert}"
"""Grafana's own page of a rule, where the rule names no runbook."""


class Runbooks(NamedTuple):
    """The page of each alert, by the alert's name."""

    pages: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the annotation ``runbook_url`` of every rule in the files of ``folder``."""
        files = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
        rules = [rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule]
        return cls({rule["alert"]: _address(rule["annotations"].get("runbook_url", "")) for rule in rules})

    def link(self, alert: str) -> Json:
        """A panel's link to what to do when ``alert`` fires; KeyError where there is no such rule."""
        if alert not in self.pages:
            raise KeyError(f"a panel names the alert {alert}, but no rule is called so: {', '.join(self.pages)}")
        url = self.pages[alert] or RULES_PAGE.format(alert=alert)
        return {"title": f"{alert}: what to do", "url": url, "targetBlank": True}

    def all(self) -> list[Json]:
        """A link to the folder of all runbooks, if the rules name any."""
        folders = {url.rpartition("/")[0] for url in self.pages.values() if url}
        tooltip = "What to do when a rule fires"
        return [{"title": "Runbooks", "url": url, "icon": "question", "tooltip": tooltip} for url in sorted(folders)]


def _address(page: str) -> str:
    """Where a browser finds a page.

    >>> _address("docs/runbooks/TocsinStuck.md"), _address("https://soc.example/stuck")
    ('${docs}/runbooks/TocsinStuck.md', 'https://soc.example/stuck')
    """
    return page.replace(OURS, "${docs}/", 1) if page.startswith(OURS) else page
