"""Answers that the gate is given hold for the rows that they are about, and for no others under the same ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx_models import CLASSES, FEATURES, samples
from tiny_registry import make_registry

from monitor.gate_answers import Bound, bind
from rollback.registry.registry import Buffer
from rollback.retraining.foreign import REPEATED, _told
from rollback.tables.table import write_table

BUNDLE = make_registry().load("1")
OWN, OTHER = CLASSES[0], CLASSES[1]


def bound(folder: Path, ids: list[str], *answers: dict[str, str], same: tuple[int, ...] = ()) -> Bound:
    """Answers about rows with these ids; rows ``same`` are copies of the first one."""
    x, names = samples(len(ids))
    for row in same:
        x[row], names[row] = x[0], names[0]
    columns = {f.name: x[:, j] for j, f in enumerate(FEATURES)}
    write_table(folder / "rows.csv", {"id": np.array(ids), "label": names, **columns})
    (folder / "answers.ndjson").write_text("\n".join(json.dumps(answer) for answer in answers))
    return bind(folder / "answers.ndjson", BUNDLE, Buffer(folder / "rows.csv", "label", None, None))


def test_an_answer_under_an_id_that_different_rows_share_is_not_taken(tmp_path: Path) -> None:
    found = bound(tmp_path, ["a", "a", "b"], {"id": "a", "label": OWN}, {"id": "b", "label": OTHER})
    assert found.codes == {"b": 1}
    assert set(found.digests) == {"b"}
    assert any("1 answers were not taken" in remark for remark in found.remarks)
    assert any("nothing is asked about these rows" in remark for remark in found.remarks)


def test_a_digest_does_not_let_an_answer_hold_for_other_rows_of_the_id(tmp_path: Path) -> None:
    digest = bound(tmp_path, ["a", "b", "b"], {"id": "a", "label": OWN}).digests["a"]
    found = bound(tmp_path, ["a", "a", "b"], {"id": "a", "label": OWN, "digest": digest})
    assert found.codes == {}
    assert any("share their ids" in remark for remark in found.remarks)


def test_an_answer_about_another_row_is_not_taken_and_the_right_one_is(tmp_path: Path) -> None:
    digest = bound(tmp_path, ["a", "b", "c"]).digests["b"]
    right, wrong = ({"id": "b", "label": OWN, "digest": each} for each in (digest, "0" * 64))
    assert bound(tmp_path, ["a", "b", "c"], right).codes == {"b": 0}
    refused = bound(tmp_path, ["a", "b", "c"], wrong)
    assert refused.codes == {}
    assert any("not those that were asked about" in remark for remark in refused.remarks)


def test_copies_under_one_id_are_one_row(tmp_path: Path) -> None:
    found = bound(tmp_path, ["a", "a", "a"], {"id": "a", "label": OTHER}, same=(1, 2))
    assert found.codes == {"a": 1}
    told = _told(found.codes, np.array(["a", "b", "a", "a"]))
    assert told.tolist() == [1, -1, REPEATED, REPEATED]


def test_of_answers_about_the_same_row_the_last_one_counts_whatever_came_between(tmp_path: Path) -> None:
    digest = bound(tmp_path, ["a", "b", "c"]).digests["b"]
    exact, loose = {"id": "b", "label": OWN, "digest": digest}, {"id": "b", "label": OTHER}
    assert bound(tmp_path, ["a", "b", "c"], exact, loose, exact).codes == {"b": 0}
    assert bound(tmp_path, ["a", "b", "c"], exact, loose).codes == {"b": 1}


def test_answers_without_a_buffer_are_said_to_be_about_nothing(tmp_path: Path) -> None:
    (tmp_path / "answers.ndjson").write_text(json.dumps({"id": "a", "label": OWN}))
    found = bind(tmp_path / "answers.ndjson", BUNDLE, None)
    assert found.codes == {}
    assert found.remarks == ("there is no buffer of rows that the answers could be about",)
