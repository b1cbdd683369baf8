"""Checking a tenant's whole log: entries against leaves, leaves against signed heads.

The text of an entry is deleted when its time is over, its leaf hash and the checkpoints never are. So the oldest
entries may be leaves alone, and whatever else is missing, changed, added, reordered or of another tenant shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.errors import AuditError
from privacy.governance.audit.checkpoint import verify_checkpoint
from privacy.governance.audit.entries import AuditEntry, encode_entry
from privacy.governance.audit.tree import leaf_hash, tree_root
from privacy.protocol.ids import TenantId


def verify_log(
    *,
    tenant: TenantId,
    leaves: Sequence[bytes],
    entries: Iterable[tuple[int, AuditEntry]],
    checkpoints: Iterable[str],
    public_key: Ed25519PublicKey,
    first: int = 0,
) -> bytes:
    """Check a log and return its root.

    A log that was cut back to before its latest checkpoint shows; what was cut after it does not, so a checkpoint
    is worth most where somebody else keeps it.

    Args:
        tenant: whose log.
        leaves: every leaf hash, from number `first` on.
        entries: the entries that are still there, with their numbers, in order.
        checkpoints: signed heads, in any order.
        public_key: the platform's.
        first: number of the first leaf.

    Raises:
        AuditError: something was changed, dropped, added, reordered, forked, cut or belongs to another tenant.
    """
    _verify_entries(tenant, leaves, [(seq - first, seq, entry) for seq, entry in entries])
    for jws in checkpoints:
        head = verify_checkpoint(jws, public_key)
        if head.tenant != tenant:
            raise AuditError("an audit checkpoint is another tenant's")
        if head.size > len(leaves):
            raise AuditError(f"audit log was cut: {len(leaves)} entries, a checkpoint covers {head.size}")
        if head.root != tree_root(leaves[: head.size]):
            raise AuditError(f"audit log was changed before entry {head.size}")
    return tree_root(leaves)


def _verify_entries(
    tenant: TenantId, leaves: Sequence[bytes], entries: Sequence[tuple[int, int, AuditEntry]]
) -> None:
    """Check entries that come with their place in the tree and their number."""
    expected = entries[0][0] if entries else len(leaves)
    for at, seq, entry in entries:
        if at != expected:
            raise AuditError(f"an audit entry before number {seq} is missing, or numbers repeat")
        if entry.tenant != tenant:
            raise AuditError(f"audit entry {seq} is another tenant's")
        if not 0 <= at < len(leaves) or leaf_hash(encode_entry(entry, seq=seq)) != leaves[at]:
            raise AuditError(f"audit log does not verify at entry {seq}")
        expected = at + 1
    if expected != len(leaves):
        raise AuditError("the last audit entries are missing")
