"""Merkle trees over the records of a log, as in RFC 6962 (Certificate Transparency), section 2.1.

Two short proofs come of it: that a record is in the log whose root somebody has kept (`inclusion`), and that a log has
only grown since an earlier root (`consistency`). Either is checked without the log itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

EMPTY: Final = hashlib.sha256(b"").digest()
"""The root of no records."""


class ProofError(Exception):
    """A proof does not lead to the root that it should lead to."""


def leaf(record: bytes) -> bytes:
    """The hash of a record: SHA-256(0x00, record), so that no inner node passes for one.

    >>> leaf(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return hashlib.sha256(b"\x00" + record).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01, left, right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    r"""The root of a growing log in O(log n) memory: the roots of its full subtrees, largest first.

    >>> tree = Tree()
    >>> for record in (b"", b"\x00"):
    ...     tree.append(leaf(record))
    >>> tree.size, tree.root().hex()[:16]
    (2, 'fac54203e7cc696c')
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        for each in leaves:
            self.append(each)

    def append(self, leaf_hash: bytes) -> None:
        """Add the hash of the next record."""
        joined, size = leaf_hash, self.size
        while size & 1:
            joined = node(self._peaks.pop(), joined)
            size >>= 1
        self._peaks.append(joined)
        self.size += 1

    def root(self) -> bytes:
        """The root of all records so far."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node(peak, root)
        return root


class Subtrees:
    """The tree of all ``leaves``, whose inner nodes are computed once: for many proofs of one log."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves
        self._roots: dict[tuple[int, int], bytes] = {}

    def inclusion(self, index: int) -> list[bytes]:
        """The proof (audit path) that leaf ``index`` is in the tree, lowest node first.

        Raises `ValueError` where there is no such leaf.
        """
        if not 0 <= index < len(self._leaves):
            raise ValueError(f"there is no record {index} in a log of {len(self._leaves)}")
        path: list[bytes] = []
        low, high = 0, len(self._leaves)
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._root(middle, high))
                high = middle
            else:
                path.append(self._root(low, middle))
                low = middle
        return path[::-1]

    def _root(self, low: int, high: int) -> bytes:
        if high - low == 1:
            return self._leaves[low]
        if (low, high) not in self._roots:
            middle = low + _split(high - low)
            self._roots[low, high] = node(self._root(low, middle), self._root(middle, high))
        return self._roots[low, high]


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """`Subtrees.inclusion` of one leaf."""
    return Subtrees(leaves).inclusion(index)


def check_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises `ProofError` unless the proof leads from the leaf to the root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"record {index} cannot be in a log of {size}")
    found = leaf_hash
    for step, from_left in zip(proof, _sides(index, size - 1, len(proof)), strict=True):
        found = node(step, found) if from_left else node(found, step)
    if found != root:
        raise ProofError(f"record {index} is not in the log with root {root.hex()[:16]}")


def consistency(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """The proof that the tree of the first ``size`` leaves is the beginning of the tree of all of them.

    Raises `ValueError` where ``size`` is not between 1 and the number of leaves.
    """
    if not 1 <= size <= len(leaves):
        raise ValueError(f"a log of {len(leaves)} records has no beginning of {size}")
    return _consistency(leaves, 0, len(leaves), size, whole=True)


def check_consistency(size: int, root: bytes, later: int, later_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises `ProofError` unless the log of ``later`` records begins with that of ``size`` (RFC 9162, 2.1.4.2)."""
    if not 1 <= size <= later:
        raise ProofError(f"a log of {later} records does not begin with {size}")
    if size == later:
        if proof or root != later_root:
            raise ProofError("two logs of the same length differ")
        return
    steps = [root, *proof] if size & (size - 1) == 0 else list(proof)
    if not steps:
        raise ProofError("the proof is too short")
    number, last = size - 1, later - 1
    while number & 1:
        number >>= 1
        last >>= 1
    first = second = steps[0]
    for step, from_left in zip(steps[1:], _sides(number, last, len(steps) - 1), strict=True):
        if from_left:
            first = node(step, first)
        second = node(step, second) if from_left else node(second, step)
    if first != root or second != later_root:
        raise ProofError(f"the log of {later} records does not begin with the one of {size} that was known")


def _sides(number: int, last: int, steps: int) -> list[bool]:
    """Whether each step of a proof joins from the left, on the way up from node ``number`` of a level's ``last``."""
    sides = []
    for _ in range(steps):
        if last == 0:
            raise ProofError("the proof is too long")
        sides.append(bool(number & 1) or number == last)
        while sides[-1] and not number & 1 and number:
            number >>= 1
            last >>= 1
        number >>= 1
        last >>= 1
    if last:
        raise ProofError("the proof is too short")
    return sides


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _root(leaves: Sequence[bytes], low: int, high: int) -> bytes:
    return Tree(leaves[low:high]).root()


def _consistency(leaves: Sequence[bytes], low: int, high: int, size: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 for the leaves from ``low`` to ``high``, of which the first ``size`` were there before."""
    count = high - low
    if size == count:
        return [] if whole else [_root(leaves, low, high)]
    middle = _split(count)
    if size <= middle:
        rest = _root(leaves, low + middle, high)
        return [*_consistency(leaves, low, low + middle, size, whole=whole), rest]
    first = _root(leaves, low, low + middle)
    return [*_consistency(leaves, low + middle, high, size - middle, whole=False), first]
