"""The Merkle tree is RFC 6962's, and its proofs hold for what is there and for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.audit.merkle import (
    EMPTY,
    ProofError,
    Tree,
    check_consistency,
    check_inclusion,
    consistency,
    inclusion,
    leaf,
    node,
)

KNOWN_RECORDS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
KNOWN_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
sizes = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    return [leaf(str(i).encode()) for i in range(count)]


def test_roots_are_those_of_certificate_transparency() -> None:
    tree = Tree()
    assert tree.root() == EMPTY
    for record, root in zip(KNOWN_RECORDS, KNOWN_ROOTS, strict=True):
        tree.append(leaf(bytes.fromhex(record)))
        assert tree.root().hex() == root


def test_a_record_cannot_pass_for_an_inner_node() -> None:
    one, two = leaves(2)
    assert leaf(one + two) != node(one, two)
    assert leaf(b"a") != hashlib.sha256(b"a").digest()


@given(sizes, st.data())
def test_every_record_is_proved_to_be_in_the_log(size: int, data: st.DataObject) -> None:
    every = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion(every, index), Tree(every).root()
    assert len(proof) <= (size - 1).bit_length()
    check_inclusion(every[index], index, size, proof, root)
    with pytest.raises(ProofError):
        check_inclusion(leaf(b"another"), index, size, proof, root)
    if size > 1:
        with pytest.raises(ProofError):
            check_inclusion(every[index], index, size, proof[:-1], root)
        with pytest.raises(ProofError):
            check_inclusion(every[index], (index + 1) % size, size, proof, root)


@given(sizes, st.data())
def test_a_log_is_proved_to_begin_with_what_it_was(size: int, data: st.DataObject) -> None:
    every = leaves(size)
    before = data.draw(st.integers(1, size))
    known, root, proof = Tree(every[:before]).root(), Tree(every).root(), consistency(every, before)
    check_consistency(before, known, size, root, proof)
    changed = [leaf(b"another"), *every[1:]]
    with pytest.raises(ProofError):
        check_consistency(before, known, size, Tree(changed).root(), consistency(changed, before))


@given(st.integers(2, 70), st.data())
def test_a_changed_proof_proves_nothing(size: int, data: st.DataObject) -> None:
    every = leaves(size)
    before = data.draw(st.integers(1, size - 1))
    known, root, proof = Tree(every[:before]).root(), Tree(every).root(), consistency(every, before)
    at = data.draw(st.integers(0, len(proof) - 1))
    wrong = [*proof[:at], leaf(b"another"), *proof[at + 1 :]]
    for bad in (wrong, proof[:-1], [*proof, leaf(b"another")]):
        with pytest.raises(ProofError):
            check_consistency(before, known, size, root, bad)


@pytest.mark.parametrize("index", [-1, 3])
def test_what_is_not_there_has_no_proof(index: int) -> None:
    with pytest.raises(ValueError, match=f"no record {index} in a log of 3"):
        inclusion(leaves(3), index)
    with pytest.raises(ProofError):
        check_inclusion(leaves(3)[0], index, 3, [], EMPTY)


@pytest.mark.parametrize("size", [0, 4])
def test_a_beginning_has_at_least_one_record_and_no_more_than_there_are(size: int) -> None:
    with pytest.raises(ValueError, match=f"no beginning of {size}"):
        consistency(leaves(3), size)
    with pytest.raises(ProofError):
        check_consistency(size, EMPTY, 3, Tree(leaves(3)).root(), [])
