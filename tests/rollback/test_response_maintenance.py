"""Maintenance windows: when they are open, over midnight, over changes of the clock, and how they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.response.maintenance import maintenance, over_at


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_window_is_open_from_its_start_to_before_its_end_on_its_days_only() -> None:
    window = maintenance("Sat,sun 02:00-06:00")
    assert window.end_at(at("2026-11-21T01:59:59")) is None  # a Saturday
    assert window.end_at(at("2026-11-21T02:00:00")) == at("2026-11-21T06:00")
    assert window.end_at(at("2026-11-21T06:00:00")) is None
    assert window.end_at(at("2026-11-23T03:00:00")) is None


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    window = maintenance("Fri 22:00-02:00")
    assert window.end_at(at("2026-11-20T23:00")) == window.end_at(at("2026-11-21T01:00")) == at("2026-11-21T02:00")
    assert window.end_at(at("2026-11-20T01:00")) is None
    assert maintenance("Fri 02:00-02:00").end_at(at("2026-11-21T01:59")) == at("2026-11-21T02:00")


def test_a_window_follows_its_zone_through_a_change_of_the_clock() -> None:
    window = maintenance("Sun 01:30-04:00", "Europe/Berlin")  # on 2026-10-25 three o'clock comes twice
    start, end = at("2026-10-25T01:30", "Europe/Berlin"), at("2026-10-25T04:00", "Europe/Berlin")
    assert end - start == 3.5 * 3600
    assert window.end_at(start) == window.end_at(end - 1) == end
    assert window.end_at(end) is None


@given(st.floats(min_value=1.6e9, max_value=1.9e9))
def test_nothing_is_open_once_all_is_over(now: float) -> None:
    windows = [maintenance("daily 22:00-02:00", "Asia/Tokyo"), maintenance("Mon,Thu 01:00-09:00")]
    over = over_at(windows, now)
    if over is None:
        assert all(window.end_at(now) is None for window in windows)
    else:
        assert now < over <= now + 86_400
        assert all(window.end_at(over) is None for window in windows)


def test_windows_that_cover_the_whole_week_are_said_to_be_over_after_more_than_a_week() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    over = over_at([maintenance("daily 00:00-12:00"), maintenance("daily 12:00-00:00")], now)
    assert over is not None
    assert 8 * 86_400 < over - now < 10 * 86_400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sat", "is no window; write it as"),
        ("Sat 2:00-06:00", "is no window"),
        ("Sat 02:00-25:00", "hour must be in 0..23"),
        ("Foo 02:00-06:00", "Foo is no day; days are Mon"),
        ("", "is no window"),
    ],
)
def test_what_is_no_window_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        maintenance(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime"])
def test_a_zone_that_is_not_known_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        maintenance("Sat 02:00-06:00", zone)
