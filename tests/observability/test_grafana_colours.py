"""All eyes tell the colours apart: every pair of the palette keeps its distance under each kind of colour blindness.

Simulated after Vienot, Brettel and Mollon (1999) for the lack of red and of green, and after Brettel, Vienot and Mollon
(1997), as one matrix, for that of blue; distances are Delta E (CIE 1976), of which 2.3 is just noticeable.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from grafana_dashboard import BOARDS, PANELS, ROOT

FRAME = yaml.safe_load((ROOT / "grafana" / "frame.yaml").read_text())
PALETTE: dict[str, str] = {name: colour for name, colour in FRAME["palette"].items() if colour != "text"}
APART = 10.0
SEEN = {
    "all cones": np.eye(3),
    "no red": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "no green": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    "no blue": np.array([[1.01277, 0.13548, -0.14826], [-0.01243, 0.86812, 0.14431], [0.07589, 0.805, 0.11911]]),
}
"""On linear RGB."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def lab(colour: str, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A colour of the web as it is seen, in CIELAB."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(TO_XYZ @ np.clip(seen @ linear, 0.0, 1.0) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("pair", combinations(PALETTE, 2), ids="-".join)
def test_two_colours_are_told_apart(eyes: str, pair: tuple[str, str]) -> None:
    one, other = (lab(PALETTE[name], SEEN[eyes]) for name in pair)
    assert float(np.linalg.norm(one - other)) > APART


def test_the_dashboards_use_no_other_colours() -> None:
    for board in BOARDS:
        used = re.findall(r'"(?:color|fixedColor|iconColor)": "([^"]+)"', json.dumps(board.file))
        assert set(used) <= {*FRAME["palette"].values(), "rgba(255,255,255,0.7)"}


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_no_panel_takes_colours_of_a_palette_that_mixes_red_and_green(panel: dict[str, Any]) -> None:
    modes = {panel["fieldConfig"]["defaults"]["color"]["mode"]}
    for override in panel["fieldConfig"]["overrides"]:
        modes |= {each["value"]["mode"] for each in override["properties"] if each["id"] == "color"}
    assert modes <= {"fixed", "shades", "thresholds"}
    if panel["type"] == "heatmap":
        assert panel["options"]["color"]["scheme"] == "Cividis"


def test_what_has_a_name_has_a_colour_of_its_own() -> None:
    families = [colour for _, colour in FRAME["words"]["family"].values()]
    assert len(set(families)) == len(families) == 6
    for name, colour in FRAME["words"]["family"].values():
        assert FRAME["colours"][name] == colour
