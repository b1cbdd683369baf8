"""The audit log: who did what to what, as leaves of a Merkle tree whose heads are signed."""
