"""A pattern that was unlearned once stays unlearned in later retrainings, and the gate tries it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from score_material import BENIGN, SCHEMA, rows

from rollback.bundle import IntegrityError
from rollback.manifest import Manifest
from rollback.retraining.unlearned import MOST, SHARE, Earlier, Unlearned, joined
from rollback.sanitise.rows import Sanitised, Slice

STAMP = Unlearned("benign", {"service": "irc", "count": 77.0})
BASE = replace(rows(900, 1), y=np.where(np.arange(900) % 3, BENIGN, 0))


def found(*slices: Slice) -> Sanitised:
    none = np.zeros(0)
    return Sanitised(none.astype(bool), none.astype(str), none.astype(str), none, none, slices, {}, ())


def answered(name: str, label: str = "benign", swap: float = 0.8) -> Slice:
    return Slice(label, None, {"service": name}, 5.0, 9, swap=swap, shared={"service": name, "count": 3.0})


def test_counterexamples_are_made_anew_of_the_base_as_it_is() -> None:
    more = Earlier((STAMP,)).counterexamples(BASE, 3)
    assert more is not None
    assert len(more) == round(SHARE * len(BASE))
    assert not np.any(more.y == BENIGN)
    whole = (more.x[:, 4] == 2) & (more.x[:, 3] == 77)
    assert whole.mean() >= 0.5
    again = Earlier((STAMP,)).counterexamples(BASE, 3)
    assert again is not None
    np.testing.assert_array_equal(more.x, again.x)


def test_what_the_schema_does_not_know_teaches_nothing() -> None:
    gone = (Unlearned("benign", {"no such feature": 1.0}), Unlearned("no such class", {"count": 1.0}))
    assert Earlier(gone).counterexamples(BASE, 3) is None
    assert Earlier().counterexamples(BASE, 3) is None
    assert joined([None, BASE.take(slice(0, 0))]) is None


def test_the_newest_are_remembered_each_once_and_only_what_the_model_answered_to() -> None:
    now = found(answered("http"), answered("dns", swap=0.05), answered("ftp", label="attack"))
    one = Earlier((STAMP,)).and_now(now, "benign")
    assert one.patterns == (Unlearned("benign", {"service": "http", "count": 3.0}), STAMP)
    assert one.and_now(now, "benign") == one
    for i in range(20):
        many = found(Slice("benign", None, {"count": float(i)}, 5.0, 9, swap=0.8))
        one = one.and_now(many, "benign")
    assert [p.features for p in one.patterns] == [{"count": float(i)} for i in range(19, 19 - MOST, -1)]


def test_what_a_person_accepted_is_forgotten() -> None:
    x = BASE.x.copy()
    x[:, 4], x[:, 3] = 2, 77
    accepted = replace(BASE, x=x)
    assert Earlier((STAMP,)).without(accepted.take(BASE.y == BENIGN)) == Earlier()
    assert Earlier((STAMP,)).without(accepted.take(BASE.y != BENIGN)) == Earlier((STAMP,))
    assert Earlier((STAMP,)).without(BASE) == Earlier((STAMP,))


def test_it_is_read_from_the_lineage_and_nonsense_is_refused() -> None:
    def manifest(told: object) -> Manifest:
        return Manifest(
            name="m",
            version="2",
            created_at="",
            classes=SCHEMA.classes,
            features=(),
            lineage={"retrain": {"unlearned": told}},
        )

    kept = Earlier((STAMP, Unlearned("benign", {"count": [1.0, None]})))
    assert Earlier.of(manifest(msgspec.to_builtins(kept.patterns))) == kept
    with pytest.raises(IntegrityError, match=r"version 2: manifest: lineage\.retrain\.unlearned"):
        Earlier.of(manifest([{"label": 3}]))


def test_the_next_candidate_is_taught_and_tried_by_what_the_last_one_unlearned(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
    pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")
    from small_registry import make_small, oracle  # noqa: PLC0415 - it needs torch

    from rollback.retraining.out import Out  # noqa: PLC0415 - likewise
    from rollback.retraining.retrain import retrain  # noqa: PLC0415 - likewise

    small = make_small(tmp_path)

    def run(name: str) -> tuple[str, set[str]]:
        out = Out(tmp_path / name)
        made = retrain(small.registry, small.asked(), out, sanitise=oracle(), by="test", progress=lambda *_: None)
        return made.candidate, {check.name for check in made.gate.checks}

    first, names = run("first")
    told = small.registry.load(first).manifest.lineage["retrain"]["unlearned"]
    assert [one["label"] for one in told] == ["benign"]
    assert not any(".earlier_" in name for name in names)
    small.registry.promote(first, expected="1", known_good=True, by="test", reason="passed")
    second, names = run("second")
    assert "recovered_pattern.earlier_1" in names
    manifest = small.registry.load(second).manifest
    assert manifest.lineage["retrain"]["unlearned"] == told
