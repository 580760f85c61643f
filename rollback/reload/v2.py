"""Model servers that speak the Open Inference Protocol (V2) over HTTP: told by a reload hook, asked for canaries."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from rollback.canaries import Canaries, agreement
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_client import AnswerError, V2Client, V2Settings
from rollback.reload.v2_tensors import TensorError

MAX_ENDPOINTS: Final = 32
GRACE_SECONDS: Final = 1.0
"""Beyond the requests' own timeouts: looking up a name has none."""

Said = TypeVar("Said")
Trouble = ReloadRetryableError | ReloadRefusedError


class V2Reloader:
    """Every server that serves ``model``: ``endpoints`` are base addresses such as `http://models.soc:8080`.

    All are told and asked at the same time. `start` takes at most ``load_timeout_seconds`` and one second, `observe`
    two times ``timeout_seconds`` and one second, whatever the endpoints do. Raises `ValueError` for no endpoint, more
    than 32, a repeated one, and an address that is none.
    """

    def __init__(self, endpoints: Sequence[str], model: str, settings: V2Settings | None = None) -> None:
        if not 0 < len(endpoints) <= MAX_ENDPOINTS or len(set(endpoints)) != len(endpoints):
            raise ValueError(f"endpoints: between 1 and {MAX_ENDPOINTS} different ones, got {len(endpoints)}")
        self._settings = settings or V2Settings()
        self._clients = [V2Client(url, model, self._settings) for url in endpoints]

    def start(self, expected: str | None, target: str) -> None:  # noqa: ARG002 - servers replace whatever they serve
        """See `Reloader.start`. Of several failures a refusal is raised; the message names every endpoint."""
        seconds = self._settings.load_timeout_seconds + GRACE_SECONDS
        late: Trouble | None = _silent(seconds)
        said = ask_all(self._clients, lambda client: _load(client, target), seconds, late)
        failed = {client.url: trouble for client, trouble in zip(self._clients, said, strict=True) if trouble}
        if not failed:
            return
        text = "; ".join(f"{url}: {trouble}" for url, trouble in failed.items())
        if any(isinstance(trouble, ReloadRefusedError) for trouble in failed.values()):
            raise ReloadRefusedError(text)
        raise ReloadRetryableError(text)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the metadata's versions, and the version and scores of an answer to the canaries."""
        seconds = 2 * self._settings.timeout_seconds + GRACE_SECONDS
        seen = ask_all(self._clients, lambda client: look(client, version, canaries), seconds, None)
        late = str(_silent(seconds))
        found = zip(self._clients, seen, strict=True)
        return tuple(each or Observation(client.url, None, None, late) for client, each in found)


def ask_all(clients: Sequence[V2Client], ask: Callable[[V2Client], Said], seconds: float, silent: Said) -> list[Said]:
    """What each client's ``ask`` returns, all at once; ``silent`` for those that have not returned in time.

    ``ask`` must not raise. Threads that are late end by themselves, and keep nothing alive.
    """
    answers: queue.SimpleQueue[tuple[int, Said]] = queue.SimpleQueue()
    for i, client in enumerate(clients):
        put = lambda i=i, client=client: answers.put((i, ask(client)))  # noqa: E731 - binds the loop's variables
        threading.Thread(target=put, name=f"tocsin-ask-{i}", daemon=True).start()
    said = [silent] * len(clients)
    ends = time.monotonic() + seconds
    for _ in clients:
        try:
            i, answer = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        said[i] = answer
    return said


def look(client: V2Client, version: str, canaries: Canaries | None) -> Observation:
    """What one endpoint serves, held against ``version`` and its canaries. Never raises: what fails is the problem."""
    claimed: str | None = None
    try:
        versions = client.versions()
        claimed = versions[0] if len(versions) == 1 else None
        if canaries is None:
            return _claim_only(client.url, version, versions)
        answered, scores = client.infer(canaries.schema, canaries.x)
    except (ReloadRetryableError, ReloadRefusedError, AnswerError, TensorError) as error:
        return Observation(client.url, claimed, None, str(error))
    share = agreement(canaries.scores, scores)
    problem = _problem(version, versions, answered, share)
    note = ""
    if canaries.confused_with and not problem:
        note = f"the canaries cannot tell it from version {', '.join(canaries.confused_with)}: it is believed"
    return Observation(client.url, answered if answered is not None else claimed, share, problem, note)


def _problem(version: str, versions: Sequence[str], answered: str | None, share: float) -> str:
    """What is wrong, "" for nothing: it must say the version wherever it names one, and answer every row as it does."""
    wrong = []
    if answered not in {None, version}:
        wrong.append(f"version {answered!r} answers, not {version!r}")
    if versions and versions != (answered,) and version not in versions:
        wrong.append(_other(version, versions))
    if not versions and answered is None:
        wrong.append("it names no version")
    if share < 1.0:
        wrong.append(f"it answers {share:.0%} of the canaries as version {version!r} does")
    return "; ".join(wrong)


def _other(version: str, versions: Sequence[str]) -> str:
    return f"its metadata names {', '.join(map(repr, versions[:5])) or 'no version'}, not {version!r}"


def _claim_only(url: str, version: str, versions: Sequence[str]) -> Observation:
    claimed = versions[0] if len(versions) == 1 else None
    if version not in versions:
        return Observation(url, claimed, None, _other(version, versions))
    return Observation(url, version, None, "", "the version has no canaries: it is believed")


def _load(client: V2Client, target: str) -> Trouble | None:
    """What went wrong, None where the endpoint took it."""
    try:
        client.load(target)
    except (ReloadRetryableError, ReloadRefusedError) as trouble:
        return trouble
    except AnswerError as error:
        return ReloadRetryableError(str(error))
    return None


def _silent(seconds: float) -> ReloadRetryableError:
    return ReloadRetryableError(f"no answer within {seconds:g} s")
