"""Many models, each trained on its own part of the rows; they vote, and few poisoned rows cannot change the outcome.

See `rollback.train.harden.partition`. Scores are shares of votes: `tocsin certify` reads from them how many poisoned
rows a prediction withstands. That holds for the rows that the recipe was given and a schema that was there before them,
not for the screens, nor for a vocabulary or reference that was chosen from all rows (`tocsin train`). Members
are trained one after the other, in one go: checkpoints are used by members that use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detectors.batch import Floats, Scorer
from detectors.schema import Schema
from rollback.train.graph import INPUT, OUTPUT, Graph, onnx_spec
from rollback.train.harden.partition import content_digests, in_one_order, parts_of
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, answers_of
from rollback.train.voting import ballot_nodes, ballots, member


def _boosting() -> dict[str, Any]:
    return {"recipe": "boosting", "trees": 30, "leaf": 5}


@dataclass(frozen=True, slots=True)
class Parameters:
    """``parts`` models by the recipe ``base`` ({recipe: NAME, and its parameters})."""

    parts: int = 15
    base: dict[str, Any] = field(default_factory=_boosting)

    def __post_init__(self) -> None:
        if self.parts < 3:  # noqa: PLR2004 - two cannot outvote one
            raise ValueError(f"parts must be at least 3, got {self.parts}")
        if "privacy" in self.base:
            raise ValueError("base: privacy draws its noise anew each time; a part must always give the same model")
        member(self.base, "base")


def train(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,
    progress: Progress,
    parameters: Parameters | None = None,
    checkpoints: Path | None = None,
) -> Trained:
    """Train on the rows; see `rollback.train.recipe.Recipe`."""
    p = parameters or Parameters()
    base, digests = member(p.base, "base"), content_digests(rows.x)
    of = parts_of(digests, p.parts)
    members: list[Trained | None] = []
    for part in range(p.parts):
        own = of == part
        mine = in_one_order(rows.take(own), digests[own])
        usable = len(mine) > 0 and (mine.weight is None or bool((mine.weight > 0).any()))
        # the seed may depend on the part's number, and on nothing in the other parts
        made = (
            base.train(mine, seed=seed + part, device=device, progress=_untold, checkpoints=checkpoints)
            if usable
            else None
        )
        members.append(made)
        progress(part + 1, p.parts, float("nan"))
    score = _own(members, len(rows.schema.classes))
    figures = {"smallest_part": float(np.bincount(of, minlength=p.parts).min())}
    content = _graph(members, rows.schema)
    return Trained(content, onnx_spec(rows.schema), {}, asdict(p), figures, answers_of(score, rows), score)


def _untold(done: int, most: int, loss: float) -> None:
    del done, most, loss


def _own(members: Sequence[Trained | None], k: int) -> Scorer:
    def score(x: Floats) -> Floats:
        first = np.zeros((len(x), k))
        first[:, 0] = 1.0  # a part without rows votes for the first class
        votes: Floats = np.sum([first if each is None else ballots(each.own(x)) for each in members], axis=0)
        return votes / len(members)

    return score


def _graph(members: Sequence[Trained | None], schema: Schema) -> bytes:
    graph, k = Graph(), len(schema.classes)
    votes = [
        ballot_nodes(graph, graph.inline(each.model, f"part{i}_"), k)
        for i, each in enumerate(members)
        if each is not None
    ]
    first = np.zeros((1, k), dtype=np.float32)
    first[0, 0] = len(members) - len(votes)
    total = graph.add("Add", [graph.add("Sum", votes) if votes else _nothing(graph, k), graph.constant(first)])
    graph.add("Div", [total, graph.number(len(members))], output=OUTPUT)
    return graph.finish(len(schema.features), k, "partition")


def _nothing(graph: Graph, k: int) -> str:
    """Zeros [N,k], where no part has rows."""
    column = graph.add(
        "Cast",
        [graph.add("IsNaN", [graph.add("Gather", [INPUT, graph.constant(np.zeros(k, np.int64))], axis=1)])],
        to=1,
    )
    return graph.add("Mul", [column, graph.number(0.0)])
