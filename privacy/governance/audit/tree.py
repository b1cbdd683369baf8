"""The Merkle tree over a tenant's audit entries, with its proofs (RFC 6962, section 2.1).

A tree head commits to every entry before it. An inclusion proof shows that one entry is under a head, a consistency
proof that a later head only added to an earlier one; both are checked from hashes alone, without the log.

    append     a `Frontier`: the roots of the complete subtrees of a growing tree, at most one a level
    prove      `inclusion_proof`, `consistency_proof`: from all leaf hashes
    check      `is_included`, `is_consistent`: from a proof and heads
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.errors import AuditError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
_LEAF_PREFIX = b"\x00"
_NODE_PREFIX = b"\x01"
_LEVELS_MAX = 63


def leaf_hash(encoded: bytes) -> bytes:
    """Hash an encoded entry as a leaf, 32 bytes."""
    return hashlib.sha256(_LEAF_PREFIX + encoded).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent, 32 bytes."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """What a log must keep to append and to say its root: the complete subtrees of its tree, largest first.

    Attributes:
        size: how many leaves.
        roots: one root for each bit that is set in `size`, from the highest.
    """

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a frontier that no log can have.

        Raises:
            AuditError: the number of roots does not fit the size, or a root has not 32 bytes.
        """
        if self.size < 0 or self.size.bit_length() > _LEVELS_MAX or len(self.roots) != self.size.bit_count():
            raise AuditError("the audit log's frontier does not fit its size")
        _require_hashes(self.roots)

    def append(self, leaf: bytes) -> Frontier:
        """Return the frontier with one leaf hash more."""
        _require_hashes([leaf])
        roots, joined, level = list(self.roots), leaf, 0
        while self.size >> level & 1:
            joined = node_hash(roots.pop(), joined)
            level += 1
        return Frontier(size=self.size + 1, roots=(*roots, joined))

    @property
    def root(self) -> bytes:
        """The tree's root; that of no leaf is SHA-256 of nothing."""
        if not self.roots:
            return EMPTY_ROOT
        *rest, joined = self.roots
        for root in reversed(rest):
            joined = node_hash(root, joined)
        return joined

    def encode(self) -> bytes:
        """Return the roots one after the other."""
        return b"".join(self.roots)

    @classmethod
    def decode(cls, size: int, encoded: bytes) -> Frontier:
        """Read what `encode` wrote.

        Raises:
            AuditError: it does not fit the size.
        """
        roots = tuple(encoded[at : at + HASH_BYTES] for at in range(0, len(encoded), HASH_BYTES))
        return cls(size=size, roots=roots)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes (MTH of section 2.1, from hashed leaves on)."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root


def inclusion_proof(leaves: Sequence[bytes], index: int, *, size: int) -> list[bytes]:
    """Show that leaf `index` is under the head of the first `size` leaves (PATH of section 2.1.1).

    Raises:
        AuditError: there is no such leaf under such a head.
    """
    if not 0 <= index < size <= len(leaves):
        raise AuditError(f"entry {index} is not among the first {size} of {len(leaves)} entries")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(tree_root(leaves[middle:high]))
            high = middle
        else:
            proof.append(tree_root(leaves[low:middle]))
            low = middle
    proof.reverse()
    return proof


def consistency_proof(leaves: Sequence[bytes], first: int, *, size: int) -> list[bytes]:
    """Show that the head of the first `first` leaves is a beginning of that of the first `size` (section 2.1.2).

    Raises:
        AuditError: the sizes do not fit the log.
    """
    if not 0 < first <= size <= len(leaves):
        raise AuditError(f"a log of {len(leaves)} entries has no heads of {first} and {size} in this order")
    proof: list[bytes] = []
    low, high, is_whole = 0, size, True
    while first != high:
        middle = low + _split(high - low)
        if first <= middle:
            proof.append(tree_root(leaves[middle:high]))
            high = middle
        else:
            proof.append(tree_root(leaves[low:middle]))
            low, is_whole = middle, False
    if not is_whole:
        proof.append(tree_root(leaves[low:high]))
    proof.reverse()
    return proof


def is_included(leaf: bytes, index: int, *, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Check an inclusion proof against a head (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes([leaf, root, *proof]):
        return False
    at, last, found = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(other, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, other)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(*, first: int, first_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Check a consistency proof between two heads (RFC 9162, section 2.1.4.2)."""
    if not 0 < first <= size or not _are_hashes([first_root, root, *proof]):
        return False
    if first == size:
        return first_root == root and not proof
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not steps:
        return False
    at, last = first - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = steps[0]
    for other in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    return last == 0 and before == first_root and after == root


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _require_hashes(values: Sequence[bytes]) -> None:
    if not _are_hashes(values):
        raise AuditError("audit hashes must have 32 bytes")
