"""How a panel of a row becomes one of Grafana's: its queries, and how each kind is drawn."""  # noqa: INP001 - no package

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

NEEDED: Final = frozenset({"title", "size", "description", "empty", "queries"})
WANTED: Final = frozenset(
    {"type", "unit", "min", "max", "decimals", "limits", "word", "colour_by", "dashed", "units", "alerts", "to"}
)
LETTERS: Final = "ABCDEFGH"
OF_LINES: Final = frozenset({"log", "bars", "fill", "steps"})
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
NO_LEGEND: Final = {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []}
LEGEND: Final = NO_LEGEND | {"showLegend": True}
LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
TOOLTIP: Final = {"mode": "multi", "sort": "desc", "hideZeros": False}
BARS: Final = {
    "displayMode": "gradient",
    "orientation": "horizontal",
    "valueMode": "color",
    "showUnfilled": True,
    "namePlacement": "auto",
    "sizing": "auto",
}
CELLS: Final = {
    "calculate": False,
    "color": {"mode": "scheme", "scheme": "Cividis", "steps": 64, "exponent": 1, "reverse": False, "fill": "#000000"},
    "cellGap": 1,
    "rowsFrame": {"layout": "auto", "value": "value"},
    "showValue": "never",
    "yAxis": {"axisPlacement": "left", "reverse": False},
    "exemplars": {"color": "rgba(255,255,255,0.7)"},
    "filterValues": {"le": -1},
}
"""A heatmap whose rows are the series. Cividis looks the same to all eyes."""
STRIPES: Final = {"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.85}


def expand(text: str, fragments: Mapping[str, str]) -> str:
    """Put its fragment for every `<name>`, and for those within it.

    >>> expand("sum(up{<all>})", {"all": "<job>", "job": 'job="a"'})
    'sum(up{job="a"})'
    """
    while (whole := re.sub(r"<(\w+)>", lambda found: fragments[found[1]].strip(), text)) != text:
        text = whole
    return text.strip()


def panel(spec: Json, frame: Json) -> Json:
    """A panel, but for its number and place.

    A row says ``title``, ``size``, ``description``, ``empty`` (what is shown where there is no data) and ``queries``
    (``expr``, ``legend``; ``instant`` ones are asked for the end of the range only, and those with an ``exemplar`` for
    the incidents behind the numbers, too). Where wanted also: ``type``,
    ``unit``, ``min``, ``max``, ``decimals``, ``limits`` (the colour from a value on), ``word`` (of the frame's words),
    ``colour_by`` (`name`: of the frame's colours, or `none`), ``dashed`` (the legend of a limit), ``units`` by legend,
    ``alerts`` (rules whose runbooks it links to), ``to`` (the dashboard that a click on a series opens), and of lines
    ``log``, ``bars``, ``fill`` (how opaque) and ``steps``. Colours are names of the frame's palette.
    """
    if unknown := spec.keys() - NEEDED - WANTED - OF_LINES:
        raise ValueError(f"panel {spec['title']!r}: {', '.join(sorted(unknown))} means nothing; see panels.py")
    kind = spec.get("type", "timeseries")
    return {
        "type": kind,
        "title": spec["title"],
        "description": spec["description"].strip(),
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(spec, kind, frame), "overrides": list(_overrides(spec, frame))},
        "options": _options(spec, kind),
        "targets": [_target(query, LETTERS[i], frame) for i, query in enumerate(spec["queries"])],
    }


def _target(query: Json, letter: str, frame: Json) -> Json:
    now = query.get("instant", False)
    return {
        "refId": letter,
        "datasource": SOURCE,
        "expr": expand(query["expr"], frame["fragments"]),
        "legendFormat": query["legend"],
        "editorMode": "code",
        "range": not now,
        "exemplar": query.get("exemplar", False),
        "instant": now,
    }


def _defaults(spec: Json, kind: str, frame: Json) -> Json:
    limits = spec.get("limits", {None: "text" if kind != "timeseries" else "green"})
    plain = kind == "timeseries" or spec.get("colour_by")
    colours = frame["palette"]
    return {
        "unit": spec.get("unit", "none"),
        "noValue": spec["empty"],
        "color": {"mode": "shades", "fixedColor": colours["blue"]} if plain else {"mode": "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": colours[to]} for at, to in limits.items()]},
        "mappings": [_words(frame["words"][spec["word"]], colours)] if "word" in spec else [],
        **{key: spec[key] for key in ("min", "max", "decimals") if key in spec},
        "links": [_opens(frame["opens"][spec["to"]])] if "to" in spec else [],
        "custom": _drawing(spec, kind),
    }


def _opens(spec: Json) -> Json:
    """What a click on a series opens."""
    return {"title": spec["title"], "url": spec["url"], "targetBlank": False}


def _words(words: Mapping[int, list[str]], colours: Mapping[str, str]) -> Json:
    shown = {str(n): {"text": text, "color": colours[name], "index": n} for n, (text, name) in words.items()}
    return {"type": "value", "options": shown}


def _drawing(spec: Json, kind: str) -> Json:
    if kind == "state-timeline":
        return {"fillOpacity": 75, "lineWidth": 0}
    if kind != "timeseries":
        return {}
    bars = spec.get("bars", False)
    return {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 80 if bars else spec.get("fill", 8),
        "lineInterpolation": "stepAfter" if spec.get("steps") else "linear",
        "showPoints": "never" if bars else "auto",
        "pointSize": 4,
        "spanNulls": False,
        "stacking": {"mode": "normal" if bars else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if spec.get("log") else {"type": "linear"},
        "thresholdsStyle": {"mode": "off"},
    }


def _overrides(spec: Json, frame: Json) -> Iterator[Json]:
    """Each query has a hue, and its series shades of that: names and number of series are not known beforehand."""
    colours = frame["palette"]
    if spec.get("type", "timeseries") == "timeseries":
        for letter, hue in zip(LETTERS[: len(spec["queries"])], frame["hues"], strict=False):
            yield _override(letter, "byFrameRefID", color={"mode": "shades", "fixedColor": colours[hue]})
    if spec.get("colour_by") == "name":
        for word, colour in frame["colours"].items():
            yield _override(f"/\\b{word}\\b/", color={"mode": "fixed", "fixedColor": colours[colour]})
    if "dashed" in spec:
        limit = {"mode": "fixed", "fixedColor": colours["red"]}
        line = {"custom.lineStyle": {"fill": "dash", "dash": [10, 10]}, "custom.fillOpacity": 0}
        yield _override(f"/^{spec['dashed']}$/", color=limit, **line)
    for name, unit in spec.get("units", {}).items():
        yield _override(f"/{name}/", unit=unit)


def _override(which: str, by: str = "byRegexp", **properties: Any) -> Json:
    return {
        "matcher": {"id": by, "options": which},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _options(spec: Json, kind: str) -> Json:
    if kind == "stat":
        look = "none" if spec.get("colour_by") == "none" else "background"
        return {"colorMode": look, "graphMode": "none", "textMode": "auto", "reduceOptions": LAST, "wideLayout": True}
    if kind == "bargauge":
        return BARS | {"reduceOptions": LAST, "legend": NO_LEGEND}
    if kind == "heatmap":
        ends = {key: spec[key] for key in ("min", "max") if key in spec}
        return CELLS | {
            "color": {**CELLS["color"], **ends},
            "legend": {"show": True},
            "tooltip": {"mode": "single", "showColorScale": True},
        }
    if kind == "state-timeline":
        return STRIPES | {"legend": NO_LEGEND, "tooltip": TOOLTIP | {"mode": "single", "sort": "none"}}
    return {"legend": LEGEND, "tooltip": TOOLTIP}
