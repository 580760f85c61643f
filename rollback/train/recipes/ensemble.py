"""Models of different kinds that vote: what fools one of them need not fool the others.

A member votes where its highest probability reaches ``confidence``; the class with the most votes wins where it has
``votes`` of them, and more than any other. The scores are the mean of those members that voted for the winner. Where
nobody wins the ensemble abstains: all classes get the same score 1/k, which no confident answer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from detectors.batch import Bools, Floats, Scorer
from detectors.schema import Schema
from rollback.train.graph import OUTPUT, Graph, onnx_spec
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, answers_of
from rollback.train.voting import ballot_nodes, ballots, first_highest, member

SLACK: Final = 1e-5
"""Confidence is compared with so much to spare: a probability is not off by that much in another order of sums."""


def _three() -> tuple[dict[str, Any], ...]:
    return {"recipe": "mlp"}, {"recipe": "forest"}, {"recipe": "linear_svm"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """``members`` are recipes ({recipe: NAME, and its parameters}); see above."""

    members: tuple[dict[str, Any], ...] = field(default_factory=_three)
    confidence: float = 0.6
    votes: int = 2

    def __post_init__(self) -> None:
        if len(self.members) < 2 or not 1 <= self.votes <= len(self.members):  # noqa: PLR2004 - one has no one to outvote
            raise ValueError(f"members: at least two, and votes between 1 and {len(self.members)}")
        if not 0 <= self.confidence < 1:
            raise ValueError(f"confidence lies between 0 and 1, got {self.confidence:g}")
        if any(content.get("privacy") is not None for content in self.members):
            raise ValueError("members: the privacy of one says nothing of the others, which learn from the same rows")
        for i, content in enumerate(self.members):
            member(content, f"members[{i}]")


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
    made = []
    for i, each in enumerate(p.members):
        chosen = member(each, f"members[{i}]")
        made.append(chosen.train(rows, seed=seed, device=device, progress=_untold, checkpoints=checkpoints))
        progress(i + 1, len(p.members), float("nan"))
    score = own_of([each.own for each in made], p, len(rows.schema.classes))
    content = _graph(made, p, rows.schema)
    figures = {f"{i}_{name}": value for i, own in enumerate(made) for name, value in own.figures.items()}
    figures["abstains"] = float(np.mean(_abstained(score(rows.x))))
    return Trained(content, onnx_spec(rows.schema), {}, asdict(p), figures, answers_of(score, rows), score)


def own_of(members: Sequence[Scorer], p: Parameters, k: int) -> Scorer:
    """What members with these answers say together."""

    def score(x: Floats) -> Floats:
        said = [each(x) for each in members]
        votes = [ballots(s) * (s.max(axis=1, keepdims=True) >= p.confidence - SLACK) for s in said]
        total = np.sum(votes, axis=0)
        most = total.max(axis=1, keepdims=True)
        winner = np.zeros_like(total)
        winner[np.arange(len(x)), total.argmax(axis=1)] = 1.0
        wins = (most >= p.votes) & ((total == most).sum(axis=1, keepdims=True) == 1)
        agree = [(v * winner).sum(axis=1, keepdims=True) for v in votes]
        mean = np.sum([a * s for a, s in zip(agree, said, strict=True)], axis=0) / np.maximum(np.sum(agree, axis=0), 1)
        scores: Floats = np.where(wins, mean, 1 / k)
        return scores

    return score


def _abstained(scores: Floats) -> Bools:
    abstained: Bools = scores.max(axis=1) == scores.min(axis=1)
    return abstained


def _untold(done: int, most: int, loss: float) -> None:
    del done, most, loss


def _graph(made: Sequence[Trained], p: Parameters, schema: Schema) -> bytes:
    """`own_of`, node by node."""
    graph, k = Graph(), len(schema.classes)
    one = graph.constant(np.array([1]))
    said = [graph.inline(each.model, f"member{i}_") for i, each in enumerate(made)]
    votes = []
    for s in said:
        top = graph.add("ReduceMax", [s], axes=[1], keepdims=1)
        sure = graph.add("GreaterOrEqual", [top, graph.number(p.confidence - SLACK)])
        votes.append(graph.add("Mul", [ballot_nodes(graph, s, k), graph.add("Cast", [sure], to=TensorProto.FLOAT)]))
    total = graph.add("Sum", votes)
    most = graph.add("ReduceMax", [total], axes=[1], keepdims=1)
    winner = first_highest(graph, total, k)
    highest = graph.add("Cast", [graph.add("Equal", [total, most])], to=TensorProto.FLOAT)
    alone = graph.add("Less", [graph.add("ReduceSum", [highest, one], keepdims=1), graph.number(1.5)])
    wins = graph.add("And", [graph.add("GreaterOrEqual", [most, graph.number(p.votes)]), alone])
    agree = [graph.add("ReduceSum", [graph.add("Mul", [v, winner]), one], keepdims=1) for v in votes]
    weighted = graph.add("Sum", [graph.add("Mul", [a, s]) for a, s in zip(agree, said, strict=True)])
    mean = graph.add("Div", [weighted, graph.add("Max", [graph.add("Sum", agree), graph.number(1.0)])])
    graph.add("Where", [wins, mean, graph.number(1 / k)], output=OUTPUT)
    return graph.finish(len(schema.features), k, "ensemble")
