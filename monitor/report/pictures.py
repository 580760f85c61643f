"""The pictures of a report, drawn by Matplotlib as SVG that lies in the page itself.

Matplotlib is loaded when the first picture is drawn, not before. Colours are those of Okabe and Ito
(https://jfly.uni-koeln.de/color/), which people who see few colours tell apart; nothing is said by colour alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from monitor.report.contrasts import Contrast
from monitor.report.findings import Importance
from monitor.report.windows import Around, share
from monitor.report.words import drawn, percent, shown
from monitor.window_lines import WindowLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE: Final = "#0072b2"
VERMILION: Final = "#d55e00"
GREY: Final = "#8a8a8a"
INK: Final = "#222222"
MOST_SAID: Final = 400
MOST_POINTS: Final = 150
"""Of a longer course one window of two is drawn, or of three, and so on: the one in which the versions part most."""
LOOK: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tocsin",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#bbbbbb",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
}
BARE: Final = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def contrast_picture(contrast: Contrast, number: int) -> Markup:
    """Its sides as bars on a scale from 0 to 1, which all four have in common."""
    with _figure(3.3, 0.62 + 0.42 * max(len(contrast.sides), 1)) as (figure, axes):
        names = [drawn(side.name) for side in contrast.sides]
        for place, side in enumerate(contrast.sides):
            axes.text(0.012, place - 0.36, names[place], va="bottom", fontsize=8.5)
            axes.barh(place, side.value, 0.5, color=GREY if side.usual else VERMILION, hatch="///" * side.usual, lw=0)
            over = side.value > 0.8  # noqa: PLR2004 - there is no room beside it
            label = percent(side.value)
            x, align = (side.value - 0.015, "right") if over else (side.value + 0.02, "left")
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
            axes.text(x, place + 0.02, label, va="center", ha=align, bbox=box if over else None)
        axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.85), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(_percent())
        axes.spines["left"].set_color(INK)
        return _svg(figure, f"c{number}", f"{contrast.title}: {contrast.said}")


def course(around: Around) -> Markup:
    """How far serving and last known good version part, window by window; empty where nobody compared them."""
    every = compared(around)
    of = 1 + len(every) // MOST_POINTS
    points = [max(every[place : place + of], key=lambda point: point[1]) for place in range(0, len(every), of)]
    if len(points) < 2:  # noqa: PLR2004 - one point is no course
        return Markup()
    with _figure(4.2, 2.5) as (figure, axes):
        places = range(len(points))
        nulls = [share(w.gauge("version_disagreement", "null_rate")) or 0.0 for w, _ in points]
        ours = {(w.version, w.index) for w in around.own}
        mine = [place for place in places if (points[place][0].version, points[place][0].index) in ours]
        for place in mine:
            axes.axvspan(place - 0.5, place + 0.5, color=VERMILION, alpha=0.13, lw=0)
        axes.step(places, nulls, where="mid", color=GREY, linestyle="--", label="explained by the retrain")
        axes.plot(places, [rate for _, rate in points], color=BLUE, marker="o", ms=4, label="clearly part")
        axes.plot(mine, [points[p][1] for p in mine], "D", color=VERMILION, ms=7, label="window of this incident")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_percent())
        axes.set_ylabel("sessions of a window")
        axes.set_xticks(*_ticks([w.version for w, _ in points]))
        axes.set_xlabel(f"windows in order of time{f' (the highest of each {of})' if of > 1 else ''}, and the version")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5, borderpad=0, columnspacing=1.2)
        said = f"{len(every)} windows in order of time; highest {percent(max(rate for _, rate in every))}"
        said += f"; of each {of} the highest is drawn" if of > 1 else ""
        return _svg(figure, "course", f"Share of sessions in which serving and last known good version part: {said}")


def compared(around: Around) -> list[tuple[WindowLine, float]]:
    """The windows in which the versions were compared, with the share of sessions in which they clearly part."""
    return [(w, rate) for w in around.windows if w.events and (rate := _rate(w)) is not None]


def importance_picture(rows: Sequence[Importance], serving: str, known_good: str) -> Markup:
    """The foremost features of both versions side by side; the table beside it holds the same figures."""
    if not rows:
        return Markup()
    with _figure(4.2, 0.95 + 0.33 * len(rows)) as (figure, axes):
        places = range(len(rows))
        mine, theirs = [row.serving or 0.0 for row in rows], [row.known_good or 0.0 for row in rows]
        axes.barh([p - 0.19 for p in places], mine, 0.36, color=BLUE, label=drawn(serving))
        if any(theirs):
            label = drawn(known_good)
            axes.barh(
                [p + 0.19 for p in places], theirs, 0.36, color="#c4c4c4", hatch="///", ec=GREY, lw=0, label=label
            )
        axes.set_yticks(list(places), [drawn(row.name, 22) for row in rows])
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.xaxis.set_major_formatter(_percent())
        axes.set_xlabel("share of what moves the scores")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5, borderpad=0, columnspacing=1.2)
        return _svg(figure, "importance", "Importance of features; the table holds the same figures")


def _rate(window: WindowLine) -> float | None:
    return share(window.gauge("version_disagreement", "deep_rate"))


def _ticks(versions: Sequence[str]) -> tuple[list[int], list[str]]:
    """A tick where another version begins to answer, as far as there is room."""
    starts = [p for p, version in enumerate(versions) if p == 0 or versions[p - 1] != version]
    apart = [p for i, p in enumerate(starts) if i == 0 or p - starts[i - 1] > 1 or len(versions) < 40]  # noqa: PLR2004
    few = apart[:12]
    return few, [f"v{drawn(versions[p])[:8]}" for p in few]


def _percent() -> Any:
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - loaded when something is drawn

    return FuncFormatter(lambda value, _: f"{100 * value:.3g}%")


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many inches, outside of any state that Matplotlib shares."""
    with _without_remarks():
        from matplotlib import rc_context  # noqa: PLC0415 - loaded when something is drawn
        from matplotlib.figure import Figure  # noqa: PLC0415 - likewise

    with _without_remarks(), rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Matplotlib remarks where it keeps its cache of fonts if the home folder cannot be written: nobody need know."""
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _svg(figure: Figure, prefix: str, label: str) -> Markup:
    """The picture without head and metadata; its ids get a prefix, as there are several in a page."""
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=BARE)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    return Markup('<svg role="img" aria-label="{}"').format(shown(label, MOST_SAID)) + Markup(text.removeprefix("<svg"))  # noqa: S704 - Matplotlib's own, which escapes what it is given
