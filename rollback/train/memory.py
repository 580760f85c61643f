"""A trainer in memory, for tests and rehearsals of the response: it trains nothing, results are given to it."""

from __future__ import annotations

from rollback.train.trainer import Order, Retrained


class MemoryTrainer:
    """See `rollback.train.trainer.Trainer`. ``orders`` are those that were started, oldest first, each once."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self._running: set[str] = set()
        self._results: dict[str, Retrained] = {}

    def start(self, order: Order) -> None:
        """See `Trainer.start`. An order that has passed, was rejected or waits for labels is not done again."""
        known = self._results.get(order.key)
        if order.key in self._running or (known is not None and known.result != "failed"):
            return
        if order.key not in {known.key for known in self.orders}:
            self.orders.append(order)
        self._results.pop(order.key, None)
        self._running.add(order.key)

    def finish(self, key: str, result: Retrained) -> None:
        """Say what has become of a running order. Raises `KeyError` where it does not run."""
        self._running.remove(key)
        self._results[key] = result

    def renew(self, key: str) -> None:
        """Persons have decided about rows since: the order, ordered again, is done anew."""
        self._results.pop(key, None)

    def poll(self, key: str) -> Retrained | None:
        """See `Trainer.poll`. Raises `KeyError` for an order that was never started."""
        return None if key in self._running else self._results[key]

    def close(self) -> None:
        """See `Trainer.close`."""
        for key in self._running:
            self._results[key] = Retrained("failed", None, "the trainer was closed; order it again")
        self._running.clear()
