"""The Merkle tree of RFC 6962: known answers, and proofs that hold for every place and for no other."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import AuditError
from privacy.governance.audit.tree import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    tree_root,
)

# The eight entries and the answers with which implementations of Certificate Transparency test themselves.
ENTRIES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): INCLUSION[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

hashes = st.lists(st.binary(max_size=4), min_size=1, max_size=40).map(
    lambda entries: [leaf_hash(entry) for entry in entries]
)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_ones(size: int) -> None:
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize("place", INCLUSION, ids=str)
def test_inclusion_proofs_are_the_known_ones(place: tuple[int, int]) -> None:
    index, size = place
    proof = inclusion_proof(LEAVES, index, size=size)
    assert [one.hex() for one in proof] == INCLUSION[place]
    assert is_included(LEAVES[index], index, size=size, root=bytes.fromhex(ROOTS[size]), proof=proof)


@pytest.mark.parametrize("sizes", CONSISTENCY, ids=str)
def test_consistency_proofs_are_the_known_ones(sizes: tuple[int, int]) -> None:
    first, size = sizes
    proof = consistency_proof(LEAVES, first, size=size)
    assert [one.hex() for one in proof] == CONSISTENCY[sizes]


def mth(leaves: list[bytes]) -> bytes:
    """Section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


@given(hashes)
def test_the_root_is_that_of_the_definition_and_the_frontier_survives_being_stored(
    leaves: list[bytes],
) -> None:
    frontier = Frontier()
    for size, leaf in enumerate(leaves, start=1):
        frontier = Frontier.decode(size, frontier.append(leaf).encode())
        assert frontier.root == tree_root(leaves[:size])
    assert frontier.root == mth(leaves)


@given(hashes, st.data())
def test_a_proof_of_inclusion_holds_for_its_own_place_alone(leaves: list[bytes], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    root = tree_root(leaves[:size])
    proof = inclusion_proof(leaves, index, size=size)
    assert is_included(leaves[index], index, size=size, root=root, proof=proof)
    assert not is_included(leaf_hash(b"other!"), index, size=size, root=root, proof=proof)
    assert not is_included(leaves[index], index, size=size, root=leaf_hash(b"other!"), proof=proof)
    assert not is_included(leaves[index], index, size=size, root=root, proof=[*proof, root])
    assert not is_included(leaves[index], size, size=size, root=root, proof=proof)
    if proof:
        assert not is_included(leaves[index], index, size=size, root=root, proof=proof[1:])
        changed = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
        assert not is_included(leaves[index], index, size=size, root=root, proof=changed)


@given(hashes, st.data())
def test_a_log_that_was_rewritten_is_consistent_with_no_earlier_head(
    leaves: list[bytes], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(leaves)))
    first = data.draw(st.integers(1, size))
    proof = consistency_proof(leaves, first, size=size)
    old, new = tree_root(leaves[:first]), tree_root(leaves[:size])
    assert is_consistent(first=first, first_root=old, size=size, root=new, proof=proof)
    forked = [leaf_hash(b"forked"), *leaves[1:]]
    assert not is_consistent(
        first=first, first_root=tree_root(forked[:first]), size=size, root=new, proof=proof
    )
    assert not is_consistent(
        first=first, first_root=old, size=size, root=tree_root(forked[:size]), proof=proof
    )
    assert not is_consistent(first=first, first_root=old, size=size, root=new, proof=[*proof, old])
    if first < size:
        assert not is_consistent(first=size, first_root=old, size=first, root=new, proof=proof)
        assert not is_consistent(first=first, first_root=old, size=size, root=new, proof=proof[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 9), (0, 0)])
def test_a_place_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(AuditError):
        inclusion_proof(LEAVES, index, size=size)


@pytest.mark.parametrize(("first", "size"), [(0, 3), (4, 3), (1, 9)])
def test_heads_that_never_were_have_no_proof(first: int, size: int) -> None:
    with pytest.raises(AuditError):
        consistency_proof(LEAVES, first, size=size)


@pytest.mark.parametrize(
    ("size", "encoded"), [(1, b""), (0, bytes(32)), (3, bytes(63)), (2, bytes(64)), (-1, b"")]
)
def test_a_frontier_that_fits_no_log_is_refused(size: int, encoded: bytes) -> None:
    with pytest.raises(AuditError):
        Frontier.decode(size, encoded)


def test_only_hashes_are_leaves() -> None:
    with pytest.raises(AuditError):
        Frontier().append(b"short")
