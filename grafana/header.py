"""What stands above the panels of a dashboard: what can be chosen, where its links lead, what is marked."""  # noqa: INP001 - a script, no package

from __future__ import annotations

from panels import SOURCE, Json, expand


def source() -> Json:
    """The choice of a Prometheus."""
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def places(frame: Json) -> list[Json]:
    """Addresses that links begin with, as variables that nobody needs to see."""
    return [
        {"name": name, "type": "textbox", "query": at, "current": {"text": at, "value": at}, "hide": 2}
        for name, at in frame["places"].items()
    ]


def variable(spec: Json, frame: Json) -> Json:
    """A choice among the values that a label has."""
    query = expand(spec["query"], frame["fragments"])
    return {
        "name": spec["name"],
        "label": spec["label"],
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def annotation(spec: Json, frame: Json) -> Json:
    """What is marked on every panel."""
    return {
        "name": spec["name"],
        "datasource": SOURCE,
        "enable": True,
        "iconColor": frame["palette"][spec["colour"]],
        "expr": expand(spec["expr"], frame["fragments"]),
        "titleFormat": spec["title"],
        "tagKeys": "model",
    }


def to_board(board: Json) -> Json:
    """A link to a dashboard that takes the chosen models and the range along."""
    chosen = {"url": f"/d/{board['uid']}", "icon": "dashboard", "tooltip": board["question"]}
    return link({"title": board["title"].removeprefix("Tocsin / "), **chosen, "keepTime": True, "includeVars": True})


def link(spec: Json) -> Json:
    """A link; one that leaves the dashboards opens beside them."""
    away = not spec.get("keepTime", False)
    return {"type": "link", "tags": [], "targetBlank": away, "keepTime": False, "includeVars": False, **spec}
