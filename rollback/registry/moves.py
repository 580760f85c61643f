"""What every registry decides alike: names, the next version, and which pointers a request moves. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from rollback.manifest import Manifest
from rollback.registry.registry import Move, Pointers, RegistryError

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
SHADOW: Final = "-shadow"
SERVING: Final = "serving"
KNOWN_GOOD: Final = "last-known-good"
TAKEN: Final = frozenset({SERVING, KNOWN_GOOD, "history.ndjson", "buffers", "blobs", "reviews"})
"""What lies beside the versions in a registry's folder."""


MOVED: Final = {
    "assume": (SERVING, KNOWN_GOOD),
    "promote": (SERVING,),
    "rollback": (SERVING,),
    "known-good": (KNOWN_GOOD,),
}
"""Which pointers a move of this kind sets."""


def check_name(name: str, what: str) -> str:
    """A model's or version's name that is safe as a file name; raises `RegistryError`.

    >>> check_name("2024-05.rc_1", "version")
    '2024-05.rc_1'
    """
    if not NAME.fullmatch(name):
        raise RegistryError(
            f"{what} {name!r}: use at most 100 letters, digits, dots, dashes, underscores; no dot in front"
        )
    if what == "version" and name in TAKEN:
        raise RegistryError(f"version {name!r}: this name is taken by the registry itself; choose another")
    return name


def next_version(versions: Iterable[str]) -> str:
    """One more than the largest version that is a number; ``versions`` are all that there ever were.

    >>> next_version(["1", "2", "hotfix"]), next_version([])
    ('3', '1')
    """
    return str(max((int(v) for v in versions if v.isascii() and v.isdigit()), default=0) + 1)


def is_assumed(history: Sequence[Move]) -> bool:
    """Whether LKG is still the first version added, which nobody has vouched for."""
    return not any(move.action == "known-good" for move in history)


def shadow_name(version: str) -> str:
    """How the shadow of a version is called.

    >>> shadow_name("1")
    '1-shadow'
    """
    return f"{version}{SHADOW}"


def overdue(versions: Sequence[str], now: Pointers, needed: Collection[str], newest: int) -> list[str]:
    """The versions that nothing needs any more, oldest first: all but what serves, LKG, those ``needed``, the newest.

    A shadow goes with the version beside which it stands, and counts as none.

    >>> overdue(["1", "1-shadow", "2", "3", "4", "5"], Pointers("4", "2"), {"1"}, newest=1)
    ['3']
    >>> overdue(["1", "1-shadow", "2", "3"], Pointers("3", "3"), (), newest=1)
    ['1', '1-shadow', '2']
    """
    whole = [v for v in versions if not (v.endswith(SHADOW) and v.removesuffix(SHADOW) in versions)]
    kept = {now.serving, now.last_known_good, *needed, *whole[len(whole) - newest :]}
    return [v for v in versions if v not in kept and v.removesuffix(SHADOW) not in kept]


def check_new(version: str, versions: Sequence[str], history: Sequence[Move]) -> str:
    """A version's name that was never given; raises `RegistryError`."""
    check_name(version, "version")
    if version in versions:
        raise RegistryError(f"version {version!r} exists; a version is never changed, add another")
    if any((move.action, move.version) == ("remove", version) for move in history):
        raise RegistryError(f"version {version!r} was there and was removed; its name is not given again")
    return version


def refuse_needed(now: Pointers, version: str, done: str) -> None:
    """What serves, or would be rolled back to, cannot be ``done`` without: raises `RegistryError`."""
    if version in (now.serving, now.last_known_good):
        what = "serves" if version == now.serving else "is the last known good one"
        raise RegistryError(f"version {version} {what} and cannot be {done}")


def refuse_shadow(manifest: Manifest) -> None:
    """A shadow compares and never serves, nor is it ever last known good: raises `RegistryError`."""
    if manifest.shadow is not None:
        raise RegistryError(
            f"version {manifest.version} is a shadow of version {manifest.shadow}: it only stands in for comparing "
            "and knows too little to serve; train or add a version for that"
        )


def unaccounted(history: Sequence[Move], now: Pointers) -> list[str]:
    """What the pointers show and the history does not: a pointer that was moved by hand, or a history that was edited.

    >>> added = [Move(0.0, "add", "1", None, "ann", ""), Move(0.0, "assume", "1", None, "ann", "")]
    >>> unaccounted(added, Pointers("1", "1", assumed=True))
    []
    >>> unaccounted(added, Pointers("2", "1", assumed=True))
    ['serving is version 2, but by the history it is version 1: moved by hand, or a command was cut off; promote again']
    """
    by_history: dict[str, str] = {}
    for move in history:
        for pointer in MOVED.get(move.action, ()):
            by_history[pointer] = move.version
    found = {SERVING: now.serving, KNOWN_GOOD: now.last_known_good}
    return [
        f"{pointer} is version {version}, but by the history it is version {by_history.get(pointer)}: "
        "moved by hand, or a command was cut off; promote again"
        for pointer, version in found.items()
        if version != by_history.get(pointer)
    ]


def require(version: str, versions: Sequence[str], model: str) -> str:
    """``version``, if there is such a one; raises `RegistryError` naming those that there are."""
    if version not in versions:
        raise RegistryError(f"model {model!r} has no version {version!r}; there are: {', '.join(versions) or 'none'}")
    return version


def quarantined(history: Iterable[Move]) -> dict[str, Move]:
    """The versions that must not serve again, each with the move that says why.

    >>> poisoned = Move(0.0, "quarantine", "2", None, "tocsin", "poisoned")
    >>> list(quarantined([poisoned])), list(quarantined([poisoned, replace(poisoned, action="release")]))
    (['2'], [])
    """
    held: dict[str, Move] = {}
    for move in history:
        if move.action == "quarantine":
            held[move.version] = move
        elif move.action == "release":  # not "remove": a crash may leave what it was about to delete
            held.pop(move.version, None)
    return held


def promotion(now: Pointers, history: Sequence[Move], wanted: Move, *, known_good: bool) -> list[Move]:
    """The moves of `Registry.promote`; none where all of it has happened. Raises `RegistryError`.

    ``wanted`` is the move of the serving pointer; its ``previous`` is what is expected to serve.
    """
    refuse_quarantined(history, wanted.version)
    moves = []
    if now.serving != wanted.version:
        _check_expected(now, wanted.previous)
        moves.append(wanted)
    if known_good and (now.last_known_good != wanted.version or now.assumed):
        moves.append(replace(wanted, action="known-good", previous=now.last_known_good))
    return moves


def rollback(now: Pointers, history: Sequence[Move], wanted: Move) -> list[Move]:
    """The moves of `Registry.rollback` to ``wanted.version`` from ``wanted.previous``. Raises `RegistryError`.

    The quarantine comes first: a crash between the two leaves a version that may not serve, and none that may.
    """
    refuse_quarantined(history, wanted.version)
    bad = wanted.previous
    if bad in {wanted.version, now.last_known_good}:
        what = "is what it would go to" if bad == wanted.version else "is the last known good one"
        raise RegistryError(f"version {bad} {what}: it is not rolled back from")
    if now.serving != wanted.version:
        _check_expected(now, bad)
    held = [] if bad is None or bad in quarantined(history) else [_quarantine(wanted, bad)]
    return [*held, *([wanted] if now.serving != wanted.version else [])]


def default_target(now: Pointers) -> str:
    """What a rollback goes to unless said: LKG. Raises `RegistryError` where it serves, and where there is none."""
    if now.last_known_good is None:
        raise RegistryError("there is no last known good version to roll back to")
    if now.serving == now.last_known_good:
        raise RegistryError(f"version {now.serving} serves and is the last known good one: nothing to roll back to")
    return now.last_known_good


def released(history: Sequence[Move], wanted: Move) -> Move:
    """The move that ends a quarantine. Raises `RegistryError` where there is none, and without a reason."""
    if wanted.version not in quarantined(history):
        raise RegistryError(f"version {wanted.version} is not in quarantine")
    if not wanted.reason.strip():
        raise RegistryError(f"version {wanted.version}: a release from quarantine needs a reason, which is kept")
    return wanted


def refuse_quarantined(history: Sequence[Move], version: str) -> None:
    """What was found poisoned does not come back by itself: raises `RegistryError`."""
    held = quarantined(history).get(version)
    if held is not None:
        since = datetime.fromtimestamp(held.at, UTC).isoformat(timespec="seconds")
        raise RegistryError(
            f"version {version} is in quarantine since {since} ({held.by}: {held.reason}); if it is known to be good: "
            "tocsin registry release"
        )


def _quarantine(move: Move, version: str) -> Move:
    return replace(move, action="quarantine", version=version, previous=None)


def _check_expected(now: Pointers, expected: str | None) -> None:
    if now.serving != expected:
        raise RegistryError(f"serving is version {now.serving}, not {expected} as expected: it was moved meanwhile")
