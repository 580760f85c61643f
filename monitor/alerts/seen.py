"""Which alerts were taken in lately, over restarts: the loop may tell the same again after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

DIGEST_BYTES: Final = 16
HORIZON: Final = 4096
"""How many digests are remembered."""


class Seen:
    """The latest digests, in a file that is written anew when it has become twice as long as needed."""

    def __init__(self, path: Path, horizon: int = HORIZON) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._horizon = horizon
        content = path.read_bytes() if path.exists() else b""
        whole = len(content) // DIGEST_BYTES * DIGEST_BYTES
        self._digests = dict.fromkeys(content[i : i + DIGEST_BYTES] for i in range(0, whole, DIGEST_BYTES))
        self._forget()
        self._rewrite()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digests: Iterable[bytes]) -> None:
        """Remember these, each of `DIGEST_BYTES` bytes."""
        fresh = [digest for digest in dict.fromkeys(digests) if digest not in self._digests]
        if not fresh:
            return
        self._digests.update(dict.fromkeys(fresh))
        self._forget()
        with self._path.open("ab") as file:
            file.write(b"".join(fresh))
        self._in_file += len(fresh)
        if self._in_file > 2 * self._horizon:
            self._rewrite()

    def _forget(self) -> None:
        while len(self._digests) > self._horizon:
            del self._digests[next(iter(self._digests))]

    def _rewrite(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(self._digests))
        temporary.replace(self._path)
        self._in_file = len(self._digests)
