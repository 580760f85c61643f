"""Tests every new batch against the base, and undoes what is a fault rather than poison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from detectors.batch import Floats, Ints, Strings
from rollback.repair import batches, two_sample, verdict
from rollback.repair.batches import Pair, pairs_of
from rollback.repair.change import change
from rollback.repair.repair import Proposal, make_repairs, repair_classes
from rollback.repair.touched import misfit
from rollback.repair.two_sample import Tested, compare
from rollback.repair.verdict import Verdict
from rollback.sanitise.rows import Progress, Rows

TOLD: Final = 8
"""So many remarks at most; the rest is in the report."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``parameters`` {name: its ``Parameters``} of repairs; the others run with their defaults."""

    batches: batches.Parameters = field(default_factory=batches.Parameters)
    test: two_sample.Parameters = field(default_factory=two_sample.Parameters)
    verdict: verdict.Parameters = field(default_factory=verdict.Parameters)
    repairs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = repair_classes()
        for name, parameters in self.repairs.items():
            if name not in known or not isinstance(parameters, known[name][1]):
                raise ValueError(f"repairs: {name!r} with {type(parameters).__name__}; there are {sorted(known)}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One feature of one batch: how it differs from the base (``p`` corrected for all), and what was done about it.

    ``feature`` is None for all features together. ``repair`` names what would undo it (None: nothing known), ``done``
    says whether it was done, ``why`` why (not), ``cells`` how many values it changed.
    """

    source: str
    part: str
    feature: str | None
    p: float
    effect: float | None
    how: str
    said: str
    repair: str | None = None
    done: bool = False
    why: str = ""
    cells: int = 0


@dataclass(frozen=True, slots=True)
class Cells:
    """Changed values: ``row`` (position among the new rows) and ``feature`` (position), before and after; by what."""

    row: Ints
    feature: Ints
    before: Floats
    after: Floats
    repair: Strings
    why: Strings


@dataclass(frozen=True, slots=True)
class Mended:
    """The ``rows`` to go on with, changed ``cells``, ``findings``, sources ``untested`` for they are too small."""

    rows: Rows
    cells: Cells
    findings: tuple[Finding, ...]
    untested: tuple[str, ...]
    tested: int
    level: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A proposal for a batch, judged."""

    pair: Pair
    proposal: Proposal
    verdict: Verdict

    def of(self, source: str) -> bool:
        """Whether the batch is one of that source."""
        return self.pair.batch.source == source


def mend(
    base: Rows, new: Rows, ts: Floats | None, *, seed: int, progress: Progress, settings: Settings | None = None
) -> Mended:
    """Test and repair ``new`` (at ``ts`` [n], seconds since the epoch) against the trusted ``base``.

    Never more than values of features change: no row, label, source or session. A batch that still differs in a
    repaired feature afterwards is put back as it was. The same rows and seed give the same answer.
    """
    settings = settings or Settings()
    progress("batches against the trusted base", 0.0)
    pairs, small = pairs_of(base, new, ts, settings.batches, np.random.default_rng([seed, 31]))
    tested = compare(pairs, settings.test, np.random.default_rng([seed, 32]))
    found = _judged(tested, settings, np.random.default_rng([seed, 33]))
    faults = [f for f in found if f.verdict.fault]
    still = _still_different(faults, settings, seed)
    undone = [f for f in faults if id(f.proposal) in still]
    done = [f for f in faults if id(f.proposal) not in still]
    findings = _findings(tested, found, undone, done, settings.test.level)
    cells = _cells(done)
    x = new.x.copy()
    x[cells.row, cells.feature] = cells.after
    progress("batches against the trusted base", 1.0)
    return Mended(
        rows=replace(new, x=x),
        cells=cells,
        findings=findings,
        untested=tuple(small),
        tested=len(pairs),
        level=settings.test.level,
        remarks=_remarks(findings),
    )


def _judged(tested: Sequence[Tested], settings: Settings, rng: np.random.Generator) -> list[_Found]:
    """The best proposal for each feature of each batch that has one, and whether it is a fault.

    What lasts in a source is undone as a whole or not at all. Faults of few rows are looked for in sources as wholes,
    in features in which no part looks like a fault of all rows.
    """
    found: list[_Found] = []
    for each in sorted(tested, key=lambda t: not t.pair.batch.whole):
        source = each.pair.batch.source
        lasting = {f.proposal.feature for f in found if f.of(source) and f.pair.batch.whole and f.verdict.fault}
        differing = [j for j in np.flatnonzero(each.p[:-1] <= settings.test.level).tolist() if j not in lasting]
        found += _proposed(each, tested, differing, settings, rng, looks=False)
    divided = {t.pair.batch.source for t in tested if t.pair.batch.whole}
    for each in tested:
        source = each.pair.batch.source
        if each.pair.batch.whole or source not in divided:
            known = {f.proposal.feature for f in found if f.of(source)}
            others = [j for j in range(len(each.p) - 1) if j not in known]
            found += _proposed(each, tested, others, settings, rng, looks=True)
    return found


def _proposed(
    each: Tested,
    tested: Sequence[Tested],
    features: Sequence[int],
    settings: Settings,
    rng: np.random.Generator,
    *,
    looks: bool,
) -> list[_Found]:
    """What repairs (those that look at few rows, or the others) propose for some features of a batch, judged."""
    repairs = [r for r in make_repairs(settings.repairs) if r.looks == looks]
    pairs = [t.pair for t in tested]
    own = []
    for j in features:
        proposals = [r.propose(each.pair, j, rng) for r in repairs]
        if best := _best(each.pair, [p for p in proposals if p is not None]):
            own.append(_Found(each.pair, best, verdict.verdict(best, each.pair, pairs, settings.verdict)))
    return _confined(own, len(each.p) - 1, settings.verdict.confined)


def _best(pair: Pair, proposals: Sequence[Proposal]) -> Proposal | None:
    """The one that explains the batch best."""
    if len(proposals) > 1:
        return min(proposals, key=lambda p: misfit(pair, p.feature, p.fault))
    return next(iter(proposals), None)


def _confined(found: list[_Found], features: int, most: int) -> list[_Found]:
    """None of them is a fault where more features broke at once than a fault breaks."""
    faults = sum(f.verdict.fault for f in found)
    if faults <= max(most, features // 4):
        return found
    why = f"{faults} features changed at once: a change of traffic rather than a fault"
    return [replace(f, verdict=replace(f.verdict, fault=False, why=why)) if f.verdict.fault else f for f in found]


def _still_different(faults: Sequence[_Found], settings: Settings, seed: int) -> set[int]:
    """Proposals (by identity) after which their feature still differs from the base."""
    by_batch: dict[int, list[_Found]] = {}
    for f in faults:
        by_batch.setdefault(id(f.pair), []).append(f)
    repaired = [_repaired(own) for own in by_batch.values()]
    again = compare(repaired, settings.test, np.random.default_rng([seed, 34]))
    return {
        id(f.proposal)
        for own, test in zip(by_batch.values(), again, strict=True)
        for f in own
        if test.p[f.proposal.feature] <= settings.test.level
    }


def _repaired(found: Sequence[_Found]) -> Pair:
    pair = found[0].pair
    x = pair.now.x.copy()
    for f in found:
        x[:, f.proposal.feature] = f.proposal.after
    return replace(pair, now=replace(pair.now, x=x))


def _cells(done: Sequence[_Found]) -> Cells:
    """Every value that changes."""
    rows, features, before, after, names, why = [], [], [], [], [], []
    for f in done:
        j = f.proposal.feature
        at = np.flatnonzero(f.proposal.touched)
        rows.append(f.pair.batch.rows[at])
        features.append(np.full(len(at), j))
        before.append(f.pair.now.x[at, j])
        after.append(f.proposal.after[at])
        names.append(np.full(len(at), f.proposal.repair))
        why.append(np.full(len(at), f.proposal.why))
    if not rows:
        nothing, blank = np.zeros(0, np.int64), np.zeros(0, np.str_)
        return Cells(nothing, nothing, np.zeros(0), np.zeros(0), blank, blank)
    joined = [np.concatenate(parts) for parts in (rows, features, before, after, names, why)]
    return Cells(*joined)


def _findings(
    tested: Sequence[Tested], found: Sequence[_Found], undone: Sequence[_Found], done: Sequence[_Found], level: float
) -> tuple[Finding, ...]:
    """Everything that differs or was proposed."""
    proposed = {(id(f.pair), f.proposal.feature): f for f in found}
    back, kept = {id(f.proposal) for f in undone}, {id(f.proposal) for f in done}
    out = []
    shown = _shown(tested, found, level)
    for each in tested:
        pair, names = each.pair, each.pair.now.schema.names
        for j, p in enumerate(each.p.tolist()):
            f = proposed.get((id(pair), j))
            if (p > level and f is None) or (id(pair), j) not in shown:
                continue
            plain = Finding(
                source=pair.batch.source,
                part=pair.batch.part,
                feature=names[j] if j < len(names) else None,
                p=p,
                effect=float(each.effect[j]) if j < len(names) else None,
                how=change(pair, j).how if j < len(names) else "joint",
                said=change(pair, j).said if j < len(names) else "its features lie otherwise together",
            )
            if f is None:
                out.append(plain)
                continue
            was = "the repair was undone: the batch still differs afterwards" if id(f.proposal) in back else ""
            out.append(
                replace(
                    plain,
                    said=f.proposal.why,
                    repair=f.proposal.repair,
                    done=id(f.proposal) in kept,
                    why=was or f.verdict.why,
                    cells=int(f.proposal.touched.sum()) if id(f.proposal) in kept else 0,
                )
            )
    return tuple(out)


def _shown(tested: Sequence[Tested], found: Sequence[_Found], level: float) -> set[tuple[int, int]]:
    """Which findings (pair, feature) are told: of what at least half of a source's parts show, the whole alone."""
    proposed = {(id(f.pair), f.proposal.feature) for f in found}
    faults = {(f.pair.batch.source, f.proposal.feature) for f in found if f.pair.batch.whole and f.verdict.fault}
    wholes = {t.pair.batch.source: t for t in tested if t.pair.batch.whole}
    shown = set()
    for source in dict.fromkeys(t.pair.batch.source for t in tested):
        parts = [t for t in tested if t.pair.batch.source == source and not t.pair.batch.whole]
        whole = wholes.get(source)
        for j in range(len(parts[0].p)) if parts else ():
            marked = {id(t.pair) for t in parts if t.p[j] <= level or (id(t.pair), j) in proposed}
            lasts = len(marked) == 0 or 2 * len(marked) >= len(parts) or (source, j) in faults
            if whole is not None and lasts and (whole.p[j] <= level or (id(whole.pair), j) in proposed):
                marked = {id(whole.pair)}
            shown |= {(pair, j) for pair in marked}
    return shown


def _remarks(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What a person should read: repairs, and faults that are in doubt; other differences in one line."""
    said = [f"{f.feature} of source {f.source} ({f.part}): {f.said}; {_outcome(f)}" for f in findings if f.repair]
    more = [f"and {len(said) - TOLD} more findings of this kind"] if len(said) > TOLD else []
    differ = {(f.source, f.part) for f in findings if f.repair is None}
    if differ:
        more.append(f"{len(differ)} batches differ from the trusted base without looking like a known fault")
    return (*said[:TOLD], *more)


def _outcome(finding: Finding) -> str:
    if finding.done:
        return f"a fault, {finding.cells} values were repaired: it {finding.why}"
    return f"not repaired: {finding.why}"
