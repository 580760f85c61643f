"""The endpoints of a model, told and asked all at the same time, each in a bounded time whatever it does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from rollback.canary.canaries import Canaries, agreement
from rollback.reload.exchange import AnswerError
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_client import Listed, V2Client, V2Settings
from rollback.reload.v2_tensors import TensorError

MAX_ENDPOINTS: Final = 32
GRACE_SECONDS: Final = 1.0
"""Beyond the requests' own timeouts: looking up a name has none."""
ASKS: Final = 3
"""How many requests, at most, tell what an endpoint serves."""
READY: Final = "READY"
MAX_LISTED: Final = 5

Client = TypeVar("Client")
Said = TypeVar("Said")
Trouble = ReloadRetryableError | ReloadRefusedError


class Endpoints:
    """Servers of ``model`` that speak V2: ``urls`` are base addresses such as `http://models.soc:8080`.

    `observe` takes at most three times ``timeout_seconds`` and one second. Raises `ValueError` for more than 32
    endpoints, a repeated one, and an address that is none.
    """

    def __init__(self, urls: Sequence[str], model: str, settings: V2Settings) -> None:
        if len(urls) > MAX_ENDPOINTS or len(set(urls)) != len(urls):
            raise ValueError(f"endpoints: between 1 and {MAX_ENDPOINTS} different ones, got {len(urls)}")
        self.clients = tuple(V2Client(url, model, settings) for url in urls)
        self._seconds = ASKS * settings.timeout_seconds + GRACE_SECONDS

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the metadata's versions, and the version and scores of an answer to the canaries."""
        seen = ask_all(self.clients, lambda client: look(client, version, canaries), self._seconds, None)
        late = str(silent(self._seconds))
        found = zip(self.clients, seen, strict=True)
        return tuple(each or Observation(client.url, None, None, late) for client, each in found)


def tell_all(servers: Sequence[Client], names: Sequence[str], tell: Callable[[Client], None], seconds: float) -> None:
    """Do ``tell`` for all servers at once. Of several failures a refusal is raised; the message names every server."""
    late: Trouble | None = silent(seconds)
    said = ask_all(servers, lambda server: trouble_of(lambda: tell(server)), seconds, late)
    failed = {name: trouble for name, trouble in zip(names, said, strict=True) if trouble}
    if not failed:
        return
    text = "; ".join(f"{name}: {trouble}" if name else str(trouble) for name, trouble in failed.items())
    if any(isinstance(trouble, ReloadRefusedError) for trouble in failed.values()):
        raise ReloadRefusedError(text)
    raise ReloadRetryableError(text)


def within(name: str, seconds: float, act: Callable[[], None]) -> None:
    """Do ``act``, and wait for ``seconds`` at most; the message of what it raises begins with ``name``, if any."""
    tell_all([act], [name], lambda each: each(), seconds)


def trouble_of(act: Callable[[], None]) -> Trouble | None:
    """What went wrong, None where nothing did. An answer that cannot be used may be another one next time."""
    try:
        act()
    except (ReloadRetryableError, ReloadRefusedError) as trouble:
        return trouble
    except AnswerError as error:
        return ReloadRetryableError(str(error))
    return None


def ask_all(clients: Sequence[Client], ask: Callable[[Client], Said], seconds: float, silent: Said) -> list[Said]:
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
    except ReloadRefusedError as error:
        return Observation(client.url, claimed, None, f"{error}{_not_ready(client)}")
    except (ReloadRetryableError, AnswerError, TensorError) as error:
        return Observation(client.url, claimed, None, str(error))
    share = agreement(canaries.scores, scores)
    problem = _problem(version, versions, answered, share)
    note = ""
    if canaries.confused_with and not problem:
        note = f"the canaries cannot tell it from version {', '.join(canaries.confused_with)}: it is believed"
    return Observation(client.url, answered if answered is not None else claimed, share, problem, note)


def _not_ready(client: V2Client) -> str:
    """What the server's index says of a model that it would not answer for, "" where it says nothing."""
    try:
        listed = client.index()
    except (ReloadRetryableError, ReloadRefusedError, AnswerError):
        return ""  # it has no index: what it refused is said already
    return "".join(_state(each) for each in listed[:MAX_LISTED] if each.state != READY)


def _state(listed: Listed) -> str:
    why = f" ({listed.reason})" if listed.reason else ""
    of = f" of version {listed.version}" if listed.version else ""
    return f"; its index says{of}: {listed.state}{why}"


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


def silent(seconds: float) -> ReloadRetryableError:
    """Nothing came back in time."""
    return ReloadRetryableError(f"no answer within {seconds:g} s")
