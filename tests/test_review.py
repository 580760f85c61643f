"""Held slices before a person: what is shown, and that a decision holds for the rows that were seen and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from in_process import Run, runner
from small_registry import NAME, TRIGGER, Small, make_small, oracle

from rollback.registry.registry import Buffer
from rollback.retraining.about import About, about_rows
from rollback.retraining.data import Data, Tables, gather, read_buffer
from rollback.retraining.decisions import Decided, log_head, rule
from rollback.retraining.out import Out
from rollback.retraining.reading import digest
from rollback.retraining.retrain import Outcome, Retraining, retrain
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import read_table, write_table
from rollback.trust.sealed import SealedFileError, read_reputation

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")

Again = Callable[..., Outcome]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def held(small: Small) -> str:
    """A candidate from which rows that may be a new benign family were held back."""
    return again(small, small.root / "held").candidate


def again(small: Small, out: Path, **asked: object) -> Outcome:
    keys = Keys.trial(small.root / "registry", make=True)
    request = small.asked(keys=keys, **asked)
    return retrain(small.registry, request, Out(out), sanitise=oracle(swap=0.1), by="t", progress=lambda *_: None)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def place(small: Small) -> list[object]:
    return ["--registry", small.root / "registry", "--name", NAME]


def decided(small: Small, run: Run, held: str, decision: str) -> Path:
    key = small.root / "registry" / ".keys" / "signing.pem"
    code, out, said = run("review", decision, f"{held}/1", *place(small), "--by", "ada", "--reason", "seen by hand",
                          "--signing-key", key)  # fmt: skip
    assert code == 0, said
    assert f"{len(small.poison_ids)} rows" in out
    return small.root / "registry" / NAME / "reviews" / "decisions.json"


def removed(out: Path) -> set[str]:
    return set(read_table(out / "removed.parquet", text=["id"]).strings("id").tolist())


def test_a_new_family_is_held_and_listed(small: Small, held: str, run: Run) -> None:
    gate = small.registry.load(held).manifest.gate
    assert gate["result"] in {"vetting", "rejected"}
    found = json.loads(run("review", "list", *place(small), "--all", "--json")[1])
    assert [(each["key"], each["rows"], each["holds"]) for each in found if each["key"].startswith(f"{held}/")] == [
        (f"{held}/1", len(small.poison_ids), True)
    ]


def test_the_page_says_why_who_and_what_would_change(small: Small, held: str, tmp_path: Path, run: Run) -> None:
    code, text, said = run("review", "show", f"{held}/1", *place(small), "--html", tmp_path / "page.html")
    assert code == 0, said
    for part in ("may be a new family of benign", "source ", "trust 0.50", "decided otherwise", "right without it"):
        assert part in text
    assert all(name in text for name in TRIGGER.features)
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_what_is_held_is_not_trained_on_before_somebody_decides(small: Small, held: str) -> None:
    assert removed(small.root / "held") == small.poison_ids
    assert small.registry.load(held).manifest.lineage["retrain"]["held"] == 1


def test_an_accepted_slice_returns_and_a_rejected_one_stays_out(
    small: Small, held: str, tmp_path: Path, run: Run
) -> None:
    accepted = decided(small, run, held, "accept")
    made = again(small, tmp_path / "accepted", decisions=accepted)
    named = {"decisions": digest(accepted), "reviews": log_head(accepted)}
    assert json.loads((tmp_path / "accepted" / "candidate.json").read_bytes()) == {"version": made.candidate, **named}
    assert named.items() <= small.registry.load(made.candidate).manifest.lineage["retrain"].items()
    last = json.loads(run("audit", "show", accepted.parent, "--json")[1])[-1]
    assert named["reviews"] == last["hash"]
    assert removed(tmp_path / "accepted") == set()
    assert (tmp_path / "accepted" / "vetting.ndjson").read_bytes() == b""
    rejected = decided(small, run, held, "reject")
    done = again(small, tmp_path / "rejected", decisions=rejected)
    assert removed(tmp_path / "rejected") == small.poison_ids
    assert done.gate.result != "vetting"


def test_a_row_that_was_put_under_a_decided_id_is_not_decided_about(
    small: Small, held: str, tmp_path: Path, run: Run
) -> None:
    accepted = decided(small, run, held, "accept")
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    swapped = min(small.poison_ids)
    columns["bytes_out"] = np.where(columns["id"] == swapped, 123456.0, columns["bytes_out"])
    write_table(tmp_path / "swapped.parquet", columns)
    done = again(small, tmp_path / "out", decisions=accepted, buffer=tmp_path / "swapped.parquet")
    assert removed(tmp_path / "out") == {swapped}
    assert any("1 rows carry ids that were decided about" in remark for remark in done.gate.remarks)


def test_copies_of_an_accepted_row_are_not_accepted_with_it() -> None:
    text = np.array(["a", "a", "a", "b", "b"])
    blank = np.full(5, "-")
    about = About(text, np.char.add("d", text), blank, blank, blank, np.zeros(5), np.zeros(5, np.bool_))
    accepted = Decided("4/1", "accept", (("a", "da"),), "ada", 0.0, "")
    rejected = Decided("4/2", "reject", (("b", "db"),), "ada", 0.0, "")
    ruled = rule([accepted, rejected], about)
    assert ruled.accepted.tolist() == [True, False, False, False, False]
    assert ruled.rejected.tolist() == [False, False, False, True, True]
    assert ruled.remarks == (
        "1 rows were accepted in a review: they are trained on",
        "2 rows were rejected in a review: they stay out",
    )
    assert rule([accepted, msgspec.structs.replace(accepted, decision="reject")], about).accepted.sum() == 0


def test_decisions_that_somebody_else_has_signed_are_refused(small: Small, held: str, tmp_path: Path, run: Run) -> None:
    accepted = decided(small, run, held, "accept")
    stranger = Keys.of(new_signing_key())
    with pytest.raises(SealedFileError, match=r"decisions\.json: no valid signature by a trusted key"):
        retrain(small.registry, small.asked(keys=stranger, decisions=accepted), Out(tmp_path), sanitise=oracle(),
                by="t", progress=lambda *_: None)  # fmt: skip


@pytest.mark.parametrize("reviewed", [True, False])
def test_the_daemon_retrains_by_the_registrys_own_decisions(
    small: Small, held: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, *, reviewed: bool
) -> None:
    own = decided(small, run, held, "accept")
    asked: list[Retraining] = []

    def stop(_: object, request: Retraining, *__: object, **___: object) -> Outcome:
        asked.append(request)
        raise SealedFileError("stop")

    monkeypatch.setattr("monitor.cli.retrain.retrain", stop)
    more = ["--reviewed"] if reviewed else []
    run("retrain", *place(small), "--buffer", small.buffer, "--label", "label", "--out", tmp_path / "out", *more)
    assert [request.decisions for request in asked] == [own if reviewed else None]


def test_decisions_are_audited_and_felt_by_the_suppliers(small: Small, held: str, run: Run) -> None:
    decided(small, run, held, "reject")
    folder = small.root / "registry" / NAME / "reviews"
    code, out, said = run("audit", "show", folder, "--kind", "review", "--json")
    assert code == 0, said
    last = json.loads(out)[-1]["body"]
    assert (last["key"], last["decision"], last["by"], last["reason"]) == (f"{held}/1", "reject", "ada", "seen by hand")
    assert {row[0] for row in last["rows"]} == small.poison_ids
    found = json.loads(run("review", "reputation", *place(small), "--json")[1])
    assert {each["kind"] for each in found} == {"source"}
    assert all(each["trust"] < 0.5 and len(each["outcomes"]) == 1 for each in found)
    known = read_reputation(folder / "reputation.json", Keys.trial(small.root / "registry"))
    assert {outcome.bad > 0 for outcome in known.outcomes} == {True}
    assert {outcome.at for outcome in known.outcomes} == {last["at"]}


def test_rows_of_suppliers_with_a_bad_name_weigh_less(small: Small, held: str, tmp_path: Path, run: Run) -> None:
    decided(small, run, held, "reject")
    reputation = small.root / "registry" / NAME / "reviews" / "reputation.json"
    again(small, tmp_path / "out", reputation=reputation)
    retained = read_table(tmp_path / "out" / "retained.parquet", text=["id"])
    assert retained.floats("weight").max() < 0.5  # the oracle's weight is a half
    assert retained.strings("reason")[0].startswith("trust 0.")


def test_a_rejected_candidate_goes_into_quarantine(small: Small, tmp_path: Path, run: Run) -> None:
    other = again(small, tmp_path / "out", seed=5).candidate
    key = small.root / "registry" / ".keys" / "signing.pem"
    code, _, said = run("review", "reject", other, *place(small), "--by", "ada", "--signing-key", key)
    assert code == 0, said
    assert small.registry.history()[-1].action == "quarantine"


def test_a_slice_that_is_not_there_is_named_with_those_that_are(small: Small, held: str, run: Run) -> None:
    code, _, said = run("review", "show", f"{held}/9", *place(small))
    assert code == 1
    assert f"there are: {held}/1" in said
    assert run("review", "show", "1", *place(small))[0] == 1


def test_an_answer_without_a_digest_holds_for_no_row_where_rows_that_differ_share_its_id(
    small: Small, tmp_path: Path
) -> None:
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    columns["id"] = np.where(np.arange(len(columns["id"])) < 2, "twin", columns["id"])
    write_table(tmp_path / "twins.parquet", columns)
    answers = tmp_path / "answers.ndjson"
    answers.write_text('{"id": "twin", "label": "attack"}\n{"id": "x", "label": "attack"}\n')
    done = again(small, tmp_path / "out", buffer=tmp_path / "twins.parquet", vetting=answers)
    assert any("share their ids; answer with the digest too" in remark for remark in done.gate.remarks)
    assert len(read_table(tmp_path / "out" / "believed.parquet")) == 0


def test_a_rejected_row_stays_out_whatever_is_answered_about_it(
    small: Small, held: str, tmp_path: Path, run: Run
) -> None:
    rejected = decided(small, run, held, "reject")
    answers = [json.dumps({"id": ident, "label": "attack"}) for ident in small.poison_ids]  # what they are in truth
    (tmp_path / "answers.ndjson").write_text("\n".join(answers))
    done = again(small, tmp_path / "out", decisions=rejected, vetting=tmp_path / "answers.ndjson")
    assert removed(tmp_path / "out") == small.poison_ids
    count = len(small.poison_ids)
    assert f"{count} rows were rejected in a review: they stay out" in done.gate.remarks
    (said,) = [remark for remark in done.gate.remarks if "not believed" in remark]
    assert f"{count} that answers or --trusted vouch for" in said


def pairs(about: About, first: int) -> list[tuple[str, str]]:
    return [*zip(about.id[:first].tolist(), about.digest[:first].tolist(), strict=True)]


def test_rejected_rows_leave_the_trusted_base(small: Small, tmp_path: Path) -> None:
    lkg, known = small.registry.load("1"), small.registry.buffer("1")
    assert known is not None
    table, rows, ids = read_buffer(known, lkg.manifest.features, lkg.schema)
    about = about_rows(table, rows, ids, lkg.schema, [])
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    write_table(tmp_path / "named.parquet", {**columns, "known": np.ones(len(columns["id"]), np.int64)})
    tables = Tables(Buffer(tmp_path / "named.parquet", "label", "source", "session"), "known")

    def gathered(decisions: tuple[Decided, ...]) -> Data:
        return gather(lkg, known, tables, [], np.random.default_rng(0), decisions=decisions)

    before = gathered(())
    named = before.believed
    after = gathered((Decided("4/1", "reject", (*pairs(about, 30), *pairs(named, 9)), "ada", 0.0, ""),))
    assert after.new_about.digest.tolist() == named.digest[:9].tolist()
    assert (len(before.new), len(after.base) + len(after.holdout)) == (0, len(before.base) + len(before.holdout) - 39)
    (said,) = [remark for remark in after.remarks if "not believed" in remark]
    assert "9 that answers or --trusted vouch for and 30 of the training buffer of version 1" in said


def test_decisions_that_are_not_handed_over_are_named(small: Small, held: str, tmp_path: Path, run: Run) -> None:
    known = decided(small, run, held, "reject")
    begun = ("retrain", *place(small), "--buffer", small.buffer, "--label", "label", "--out", tmp_path / "out",
             "--vetting", tmp_path / "none")  # fmt: skip
    for options, note in (((), True), (("--reviewed",), False), (("--decisions", known), False)):
        code, _, said = run(*begun, *options)
        assert (code, f"note: what was decided in {known} is left aside" in said) == (1, note)
