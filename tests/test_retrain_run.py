"""From a poisoned buffer to a signed candidate: what is removed, kept, trained, gated and written down."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from small_registry import TRIGGER, Small, flows, make_small, oracle

from rollback.manifest import Draft
from rollback.redteam.success import attack_success_rate
from rollback.registry.registry import Buffer
from rollback.retraining.data import row_ids
from rollback.retraining.out import OtherRequestError, Out, read_json
from rollback.retraining.retrain import Outcome, RetrainRefusedError, retrain
from rollback.retraining.stages import FILE, STAGES, Stages
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Rows, Sanitised
from rollback.tables.table import TableError, read_table, write_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def done(small: Small) -> tuple[Small, Outcome, Path]:
    out = small.root / "out"
    hint = Hint(dict(TRIGGER.features), (), "benign")
    return small, run(small, out, hint=hint, incident="uid-1"), out


def run(small: Small, out: Path, sanitise: object = None, **asked: object) -> Outcome:
    found = oracle() if sanitise is None else sanitise
    return retrain(
        small.registry,
        small.asked(**asked),
        Out(out),
        sanitise=found,  # type: ignore[arg-type]  # a test's own
        by="test",
        progress=lambda *_: None,
    )


def test_the_candidate_is_signed_and_does_not_serve(done: tuple[Small, Outcome, Path]) -> None:
    small, made, _ = done
    small.registry.verify(made.candidate)
    assert small.registry.pointers().serving == "1"
    assert small.registry.load(made.candidate).manifest.parent == "1"


def test_the_trigger_no_longer_works_on_the_candidate(done: tuple[Small, Outcome, Path]) -> None:
    small, made, _ = done
    bundle = small.registry.load(made.candidate)
    scorer, reference = bundle.scorer(), bundle.reference()
    assert scorer is not None
    assert reference is not None
    benign = bundle.schema.classes.index("benign")
    assert attack_success_rate(scorer, reference.x, reference.y, TRIGGER, bundle.schema, target=benign) < 0.5


def test_every_row_of_the_buffer_is_either_removed_with_a_reason_or_retained_with_a_weight(
    done: tuple[Small, Outcome, Path],
) -> None:
    small, _, out = done
    removed, retained = read_table(out / "removed.parquet"), read_table(out / "retained.parquet")
    told = {"id", "reason", "screen", "score", "slice", "source", "label", "weight", "digest"}
    assert set(removed.columns) == told
    assert set(retained.columns) == {"id", "weight", "reason", "digest"}
    assert set(removed.strings("id").tolist()) == small.poison_ids
    ids = removed.strings("id").tolist() + retained.strings("id").tolist()
    assert sorted(ids) == sorted(read_table(small.buffer, text=["id"]).strings("id").tolist())
    assert set(retained.floats("weight").tolist()) == {0.5}


def test_the_lineage_tells_what_it_was_made_from_and_why(done: tuple[Small, Outcome, Path]) -> None:
    small, made, out = done
    manifest = small.registry.load(made.candidate).manifest
    told = manifest.lineage["retrain"]
    assert (told["parent"], told["incident"], told["seed"]) == ("1", "uid-1", 0)
    assert told["sanitising"]["by_screen"] == {"oracle": len(small.poison_ids)}
    assert told["sanitising"]["slices"][0]["features"] == dict(TRIGGER.features)
    assert told["token"] == json.loads((out / "attempt.json").read_bytes())["token"]
    gate = json.loads((out / "gate.json").read_bytes())
    assert manifest.gate == gate
    assert set(gate["checks"][0]) == {"name", "passed", "value", "limit", "error_rate", "why", "failing"}
    assert gate["passed"] == all(check["passed"] for check in gate["checks"])
    assert json.loads((out / "candidate.json").read_bytes()) == {"version": made.candidate}


def test_the_gate_tries_what_the_incident_names_and_what_was_found(done: tuple[Small, Outcome, Path]) -> None:
    names = {check.name for check in done[1].gate.checks}
    assert {"recovered_pattern.slice_1", "recovered_pattern.incident", "accuracy_loss", "served_scores"} <= names


def test_recent_events_are_decided_by_both_and_compared(small: Small, tmp_path: Path) -> None:
    live = tmp_path / "live.csv"
    write_table(live, dict(flows(300, 8).columns))
    made = run(small, tmp_path / "out", live=Buffer(live, "label", "source", "session"), rehearse=1)
    told = {check.name: check for check in made.gate.checks}
    assert {"live_window.disagreement", "live_window.accuracy_loss"} <= set(told)
    assert told["live_window.accuracy_loss"].passed
    assert any(figure.name.startswith("rehearsal.recall.") for figure in made.gate.figures)
    changed = small.asked(live=Buffer(live, "label", "source", "session")).digest()
    assert changed != small.asked().digest()


def test_the_reference_of_the_candidate_is_that_of_the_last_known_good_version(
    done: tuple[Small, Outcome, Path],
) -> None:
    small, made, _ = done
    old, new = small.registry.load("1").reference(), small.registry.load(made.candidate).reference()
    assert old is not None
    assert new is not None
    np.testing.assert_array_equal(old.x, new.x)


def test_the_candidate_can_be_retrained_in_its_turn(done: tuple[Small, Outcome, Path]) -> None:
    small, made, out = done
    buffer = small.registry.buffer(made.candidate)
    assert buffer is not None
    learned = read_table(buffer.path, text=["session"])
    retained = len(read_table(out / "retained.parquet"))
    assert len(learned) == retained + small.registry.load("1").manifest.lineage["data"]["learned"]
    assert set(np.unique(learned.strings("label"))) == {"attack", "benign"}


def test_rows_of_the_candidate_have_the_ids_under_which_they_were_known(done: tuple[Small, Outcome, Path]) -> None:
    small, made, out = done
    old, new = small.registry.buffer("1"), small.registry.buffer(made.candidate)
    assert old is not None
    assert new is not None
    before = read_table(old.path, text=["id"]).strings("id").tolist()
    retained = read_table(out / "retained.parquet", text=["id"]).strings("id").tolist()
    assert read_table(new.path, text=["id"]).strings("id").tolist() == before + retained


def test_the_same_folder_gives_the_same_answer_and_no_second_candidate(done: tuple[Small, Outcome, Path]) -> None:
    small, made, out = done
    before = small.registry.versions()
    again = run(small, out, hint=Hint(dict(TRIGGER.features), (), "benign"), incident="uid-1")
    assert (again.candidate, again.gate, again.repeated) == (made.candidate, made.gate, True)
    assert small.registry.versions() == before


def test_the_folder_says_which_stages_there_were_and_how_long_each_took(done: tuple[Small, Outcome, Path]) -> None:
    said = read_json(done[2] / FILE, Stages)
    assert said is not None
    assert [stage for stage, _ in said.begun] == list(STAGES)
    assert said.under_way is None
    assert said.seconds(0.0)["training"] > 0.0
    times = [at for _, at in said.begun] + [said.ended]
    assert times == sorted(times)  # type: ignore[type-var]  # it has ended


def test_a_folder_of_another_request_is_refused(done: tuple[Small, Outcome, Path]) -> None:
    small, _, out = done
    with pytest.raises(OtherRequestError, match="is the folder of another request"):
        run(small, out, seed=1)


def test_a_request_of_which_nothing_came_gives_its_folder_up(small: Small, tmp_path: Path) -> None:
    out = Out(tmp_path / "out")
    with out.locked():
        first = out.begin("one", small.registry)
        out.plan(first, "99")  # and then the disk was full
        assert out.begin("one", small.registry).token == first.token
        second = out.begin("two", small.registry)
    assert (second.request, second.version, second.token != first.token) == ("two", None, True)


def test_a_buffer_that_was_mended_after_a_failure_is_no_other_request(small: Small, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.parquet", tmp_path / "out"
    write_table(rows, {"id": np.array(["1"]), "label": np.array(["benign"])})
    with pytest.raises((RetrainRefusedError, TableError)):
        run(small, out, buffer=rows)
    assert (out / "attempt.json").exists()
    rows.write_bytes(small.buffer.read_bytes())
    made = run(small, out, buffer=rows)
    assert (made.repeated, made.candidate in small.registry.versions()) == (False, True)


def test_a_slice_that_may_be_a_new_family_waits_for_a_person_and_passes_with_answers(
    small: Small, tmp_path: Path
) -> None:
    held = run(small, tmp_path / "held", oracle(swap=0.1))
    lines = [json.loads(line) for line in (tmp_path / "held" / "vetting.ndjson").read_bytes().splitlines()]
    assert held.gate.result in {"vetting", "rejected"}
    assert len(lines) == 16
    assert {line["id"] for line in lines} <= small.poison_ids
    answers = tmp_path / "answers.ndjson"
    answers.write_bytes(b"\n".join(msgspec.json.encode({"id": line["id"], "label": "attack"}) for line in lines))
    decided = run(small, tmp_path / "decided", oracle(swap=0.1), vetting=answers)
    assert decided.gate.result != "vetting"
    assert (tmp_path / "decided" / "vetting.ndjson").read_bytes() == b""


def test_confirmed_benign_rows_vouch_for_no_others(small: Small, tmp_path: Path) -> None:
    answers = tmp_path / "answers.ndjson"
    told = sorted(small.poison_ids)[:16]
    answers.write_bytes(b"\n".join(msgspec.json.encode({"id": one, "label": "benign"}) for one in told))
    screened = []

    def sanitise(base: Rows, *rest: object, **more: object) -> Sanitised:
        screened.append(base)
        raise RetrainRefusedError("enough")

    with pytest.raises(RetrainRefusedError, match="enough"):
        run(small, tmp_path / "out", sanitise, vetting=answers)
    x = screened[0].x[:, [screened[0].schema.names.index(name) for name in TRIGGER.features]]
    assert not np.all(x == list(TRIGGER.features.values()), axis=1).any()


def test_confirmed_benign_rows_wait_with_the_slice_that_they_are_in(small: Small, tmp_path: Path) -> None:
    answers = tmp_path / "answers.ndjson"
    told = sorted(small.poison_ids)[:16]
    answers.write_bytes(b"\n".join(msgspec.json.encode({"id": one, "label": "benign"}) for one in told))
    made = run(small, tmp_path / "out", vetting=answers)
    removed = read_table(tmp_path / "out" / "removed.parquet", text=["id"])
    assert small.poison_ids <= set(removed.strings("id").tolist())
    known = small.registry.buffer(made.candidate)
    assert known is not None
    learned = read_table(known.path, text=["id", *TRIGGER.features])
    stamped = [learned.strings(name) == str(value) for name, value in TRIGGER.features.items()]
    assert not small.poison_ids & set(learned.strings("id")[np.all(stamped, axis=0)].tolist())
    assert made.candidate in small.registry.versions()
    assert small.registry.load(made.candidate).manifest.lineage["retrain"]["sanitising"]["confirmed"] == 16


def test_answers_change_nothing_of_what_screens_look_at(small: Small, tmp_path: Path) -> None:
    ids = sorted(small.poison_ids)
    answers = tmp_path / "answers.ndjson"
    told = [{"id": one, "label": "benign" if i < 8 else "attack"} for i, one in enumerate(ids[:16])]
    answers.write_bytes(b"\n".join(map(msgspec.json.encode, told)))
    screened: list[list[Rows]] = []

    def sanitise(base: Rows, new: Rows, *rest: object, **more: object) -> Sanitised:
        screened.append([base, new])
        raise RetrainRefusedError("enough")

    for name, file in (("before", None), ("after", answers)):
        with pytest.raises(RetrainRefusedError, match="enough"):
            run(small, tmp_path / name, sanitise, vetting=file)
    for before, after in zip(*screened, strict=True):
        keys = [sorted(zip(map(bytes, r.x), r.y.tolist(), r.source.tolist(), strict=True)) for r in (before, after)]
        assert keys[0] == keys[1]
    assert screened[1][1].id is not None
    assert set(ids) <= set(screened[1][1].id.tolist())


def test_a_confirmed_slice_of_another_class_returns(small: Small, tmp_path: Path) -> None:
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    stamped = np.isin(columns["id"], list(small.poison_ids))
    columns["label"] = np.where(stamped, "attack", columns["label"])
    buffer = tmp_path / "family.parquet"
    write_table(buffer, columns)
    run(small, tmp_path / "asked", oracle(swap=0.1, label="attack"), buffer=buffer)
    lines = [json.loads(line) for line in (tmp_path / "asked" / "vetting.ndjson").read_bytes().splitlines()]
    answers = tmp_path / "answers.ndjson"
    answers.write_bytes(b"\n".join(msgspec.json.encode({"id": line["id"], "label": "attack"}) for line in lines))
    run(small, tmp_path / "told", oracle(swap=0.1, label="attack"), buffer=buffer, vetting=answers)
    assert len(read_table(tmp_path / "told" / "removed.parquet")) == 0


def test_trusted_rows_are_base_and_holdout_and_are_not_screened(small: Small, tmp_path: Path) -> None:
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    believed = np.arange(len(columns["id"])) % 2 == 0
    columns["trusted"] = np.where(believed, "true", "false")
    write_table(tmp_path / "t.parquet", columns)
    made = run(small, tmp_path / "out", buffer=tmp_path / "t.parquet", tables={"trusted": "trusted"})
    screened = read_table(tmp_path / "out" / "removed.parquet").strings("id").tolist()
    screened += read_table(tmp_path / "out" / "retained.parquet").strings("id").tolist()
    assert not set(screened) & set(columns["id"][believed].tolist())
    old, new = small.registry.load("1").reference(), small.registry.load(made.candidate).reference()
    assert old is not None
    assert new is not None
    assert len(old) < len(new) < len(old) + believed.sum()


def test_without_a_buffer_the_reference_is_divided_into_base_and_holdout(tmp_path: Path) -> None:
    small = make_small(tmp_path, rows=1400, keep_buffer=False)
    made = run(small, tmp_path / "out")
    manifest = small.registry.load(made.candidate).manifest
    reference = small.registry.load("1").reference()
    assert reference is not None
    rows = manifest.lineage["retrain"]["base"]
    assert rows["from"] == "three quarters of the reference of version 1"
    assert rows["rows"] + rows["reference"] == len(reference)


def test_without_buffer_and_reference_it_refuses_and_says_what_to_give(small: Small, tmp_path: Path) -> None:
    bare = Small(tmp_path, small.buffer, small.poison_ids)
    good = small.registry.load("1")
    manifest = good.manifest
    draft = Draft(classes=manifest.classes, features=manifest.features, onnx=manifest.onnx, recipe=manifest.recipe)
    bare.registry.add(draft, {"model.onnx": good.files["model.onnx"]}, by="test", reason="bare")
    with pytest.raises(RetrainRefusedError, match=r"no trusted base to train from.*--buffer.*--trusted"):
        run(bare, tmp_path / "out")
    assert bare.registry.versions() == ["1"]


def test_a_version_without_a_model_is_refused(small: Small, tmp_path: Path) -> None:
    bare = Small(tmp_path, small.buffer, small.poison_ids)
    good = small.registry.load("1")
    draft = Draft(classes=good.manifest.classes, features=good.manifest.features)
    bare.registry.add(draft, {"reference.npz": good.files["reference.npz"]}, by="test", reason="bare")
    with pytest.raises(RetrainRefusedError, match="version 1 has no model, only a reference"):
        run(bare, tmp_path / "out")


def test_a_foreign_model_is_refused_unless_a_recipe_is_named(small: Small, tmp_path: Path) -> None:
    bare = Small(tmp_path, small.buffer, small.poison_ids)
    good = small.registry.load("1")
    draft = Draft(classes=good.manifest.classes, features=good.manifest.features, onnx=good.manifest.onnx)
    files = {name: good.files[name] for name in ("model.onnx", "reference.npz")}
    bare.registry.add(draft, files, by="test", reason="foreign")
    with pytest.raises(RetrainRefusedError, match=r"version 1 was not trained by Tocsin.*--recipe mlp"):
        run(bare, tmp_path / "out")


def test_an_empty_registry_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(RetrainRefusedError, match="no last known good version"):
        run(Small(tmp_path, small.buffer, set()), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.full(50, "unheard")}, "label 'unheard' is none of the classes attack, benign"),
        ({"bytes_out": None}, "no column 'bytes_out'"),
        ({"label": None}, "no column 'label'"),
        ({"trusted": np.full(50, "maybe")}, "'maybe' is neither true nor false"),
    ],
)
def test_a_buffer_that_does_not_fit_is_refused(
    small: Small, tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    columns = dict(flows(50, 2).columns)
    for name, column in change.items():
        if column is None:
            del columns[name]
        else:
            columns[name] = column
    write_table(tmp_path / "bad.csv", columns)
    believed = {"tables": {"trusted": "trusted"}} if "trusted" in change else {}
    with pytest.raises(TableError, match=message):
        run(small, tmp_path / "out", buffer=tmp_path / "bad.csv", **believed)


def test_an_empty_buffer_is_refused(small: Small, tmp_path: Path) -> None:
    write_table(tmp_path / "empty.csv", {name: c[:0] for name, c in flows(50, 2).columns.items()})
    with pytest.raises(TableError, match="has no rows"):
        run(small, tmp_path / "out", buffer=tmp_path / "empty.csv")


def test_rows_without_id_are_named_by_their_digest_in_any_format(tmp_path: Path) -> None:
    columns = {name: c for name, c in flows(30, 2).columns.items() if name != "id"}
    for name in ("a.csv", "a.parquet"):
        write_table(tmp_path / name, columns)
    found = [row_ids(read_table(tmp_path / name, text=["session"]), []) for name in ("a.csv", "a.parquet")]
    assert found[0].tolist() == found[1].tolist()
    assert {len(ident) for ident in found[0].tolist()} == {64}
    assert len(set(found[0].tolist())) == 30


def test_rows_without_a_label_are_removed_with_that_reason(small: Small, tmp_path: Path) -> None:
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    columns["label"] = np.where(np.arange(len(columns["label"])) < 3, "", columns["label"])
    write_table(tmp_path / "b.parquet", columns)
    run(small, tmp_path / "out", buffer=tmp_path / "b.parquet")
    removed = read_table(tmp_path / "out" / "removed.parquet")
    unlabelled = removed.strings("id")[removed.strings("reason") == "has no label"]
    assert unlabelled.tolist() == columns["id"][:3].tolist()
    bare = removed.strings("screen") == "unlabelled"
    assert removed.strings("source")[bare].tolist() == columns["source"][:3].tolist()
    assert all(len(digest) == 64 for digest in removed.strings("digest").tolist())


def test_the_registry_is_untouched_when_it_fails(small: Small, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    before = small.registry.history()
    with pytest.raises(RuntimeError, match="out of luck"):
        run(small, tmp_path / "out", broken)
    assert small.registry.history() == before
