"""The page of the release gate: everything that was said, for a person, and nothing from elsewhere."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollback.gates.check import Figure, Skipped, at_most
from rollback.gates.page import bar, number, page
from rollback.retraining.out import Gate

LOSS = at_most("accuracy_loss", 0.2, 0.1, 0.002, "accuracy lost")
HELD = at_most("live_window.disagreement", 0.3, 0.1, 0.002, "sessions", "holds")
GOOD = at_most("recall_loss.<b>", 0.0, 0.1, None, "a & b")


def made(*checks: object) -> str:
    said = Gate(
        passed=False,
        result="rejected",
        checks=checks,  # type: ignore[arg-type]  # checks
        remarks=("a <remark>",),
        figures=(Figure("trigger_search", 0.5, "shown"),),
        skipped=(Skipped("live_window", "no events", "--live"),),
        error_budget=0.02,
    )
    return page("Version 2 of nids", "rejected", said)


def test_a_page_names_every_check_figure_and_what_did_not_run_those_that_failed_first() -> None:
    text = made(GOOD, LOSS, HELD)
    for word in ("accuracy lost", "trigger_search", "--live", "does not pass", "2.0%", "0.20%", "Version 2 of nids"):
        assert word in text
    assert text.index("accuracy_loss") < text.index("recall_loss")
    assert ">holds<" in text
    assert ">failed<" in text


def test_a_page_has_no_script_and_loads_nothing_and_escapes_what_others_wrote() -> None:
    text = made(GOOD, LOSS)
    assert not re.search(r"<script|src=|href=|url\(|https?:", text)
    assert "recall_loss.&lt;b&gt;" in text
    assert "a &lt;remark&gt;" in text
    assert "a &amp; b" in text


@given(st.floats(), st.floats())
def test_a_bar_is_drawn_within_its_width_for_any_number(value: float, limit: float) -> None:
    drawn = bar(at_most("c", value, limit, None))
    widths = [float(w) for w in re.findall(r'(?:rect width|x1)="([\d.]+)"', drawn)]
    assert all(0 <= w <= 200 for w in widths)
    assert number(value) == "no number" or np.isfinite(value)
