"""Events of the stream with a watched itemset that only the serving version puts in its class, and who is right."""

from __future__ import annotations

import numpy as np

from detectors.asking.answers import DECISIVE, Answers
from detectors.asking.deep_events import DeepEvents
from detectors.batch import Bools, Labels, Reference, Window
from detectors.buffer.watch_list import Watched, hit_rates
from detectors.evidence import Ask, Budget, State
from detectors.nulls.margins import disagreement
from detectors.sequential import RateMonitor, log_mean, session_maximum, sessions_of

_POOL = 128  # events kept, one a session


class WatchedEvents:
    """Bets that hits come more often than on the reference, and answers about them.

    A session votes with 1[it has a hit], for every itemset. Statistic: the mean of the Shiryaev-Roberts bets
    (`RateMonitor`) against the bound of the rate on the reference. Null: that bound holds. Past ``budget.ask`` labels
    of hits are asked for; f right has the probabilities of `Answers`. A conviction stands (Wald's test has stopped).
    """

    def __init__(
        self,
        watched: list[Watched],
        reference: Reference,
        *,
        level: float,
        right_poisoned: float,
        right_honest: float,
        asked: int,
        batch: int,
    ) -> None:
        self.watched, self._reference = watched, reference
        self._monitor = RateMonitor(hit_rates(watched, reference, level)) if watched else None
        self._answers = Answers(right_poisoned, right_honest)
        self._pool = DeepEvents.none(reference.x.shape[1])
        self._most, self._batch = asked, batch
        self._asked: list[str] = []
        self.suspects, self.convicted = False, False

    @property
    def log_e(self) -> float:
        """Log of the statistic."""
        return log_mean(self._monitor.log_r) if self._monitor is not None else -np.inf

    @property
    def asked(self) -> int:
        """How many labels were asked for."""
        return len(self._asked)

    @property
    def pool(self) -> DeepEvents:
        """Hits, deepest first."""
        return self._pool

    def judged(self) -> tuple[float, int, int]:
        """Log likelihood ratio of poisoning against honest change, number of answers, how often f was right."""
        direction = self._pool.direction()
        return self._answers.judged(None, direction[1] if direction else None)

    def look(self, window: Window, labels: Labels | None, budget: Budget) -> tuple[Ask, ...]:
        """Votes and answers of a window; the events to ask about."""
        if self._monitor is None or window.g is None:
            return ()
        depth, f_class, g_class = disagreement(window.f, window.g)
        hits = np.stack([w.hits(window.batch.x, f_class, g_class) for w in self.watched], axis=1)
        self._vote(window, hits)
        rows = np.flatnonzero(hits.any(axis=1))
        batch = window.batch
        new = DeepEvents(
            batch.id[rows], batch.source[rows], batch.session[rows], batch.x[rows],
            depth[rows], f_class[rows], g_class[rows], batch.repeated[rows],
        )  # fmt: skip
        self._pool = self._pool.merged(new, _POOL)
        self.suspects = self.suspects or bool(self.log_e >= np.log(budget.ask))
        if not self.suspects:
            return ()
        self._hear(labels)
        return self._ask()

    def _vote(self, window: Window, hits: Bools) -> None:
        fresh = np.flatnonzero(window.fresh)
        if len(fresh) and self._monitor is not None:
            code, count = sessions_of(window.batch.session[fresh])
            self._monitor.update(session_maximum(hits[fresh].astype(np.float64), code, count))

    def _hear(self, labels: Labels | None) -> None:
        if labels is not None and not np.isnan(labels.g).any():
            f_class, g_class = np.argmax(labels.f, axis=1), np.argmax(labels.g, axis=1)
            rows = np.any([w.hits(labels.x, f_class, g_class) for w in self.watched], axis=0)
            self._answers.take(labels, rows, f_class, g_class)
        self.convicted = self.convicted or self.judged()[0] >= DECISIVE

    def _ask(self) -> tuple[Ask, ...]:
        direction, wanted = self._pool.direction(), min(self._batch, self._most - len(self._asked))
        if direction is None or wanted <= 0 or abs(self.judged()[0]) >= DECISIVE or self.convicted:
            return ()
        known = set(self._asked) | self._answers.sessions
        pool = self._pool.take(self._pool.along(direction) & ~self._pool.repeated)
        rows = [i for i, session in enumerate(pool.session.tolist()) if session not in known][:wanted]
        self._asked += [str(pool.session[i]) for i in rows]
        classes = self._reference.schema.classes
        why = (
            f"is it {classes[direction[1]]}, as the serving version says, or {classes[direction[0]]}? It has values "
            f"that the training buffer has unusually often under {classes[direction[1]]}."
        )
        return tuple(Ask(str(pool.id[i]), why) for i in rows)

    def carried(self) -> Watched | None:
        """The itemset that most hits carry."""
        if not len(self._pool):
            return None
        return max(self.watched, key=lambda w: int(w.itemset.carries(self._pool.x).sum()))

    def state(self) -> State:
        """What windows have changed."""
        return {
            "monitor": self._monitor.state() if self._monitor is not None else None,
            "answers": self._answers.state(),
            "pool": self._pool.state(),
            "asked": list(self._asked),
            "suspects": self.suspects,
            "convicted": self.convicted,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if self._monitor is not None and state["monitor"] is not None:
            self._monitor.restore(state["monitor"])
        self._answers.restore(state["answers"])
        self._pool = DeepEvents.restored(state["pool"])
        self._asked = list(state["asked"])
        self.suspects, self.convicted = bool(state["suspects"]), bool(state["convicted"])
