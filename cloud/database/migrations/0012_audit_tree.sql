-- Rule R8: the audit log becomes a Merkle tree (RFC 6962). An entry's text goes when its time is over; its leaf hash and
-- the signed heads stay for good, so that a purge breaks no proof and numbers are never used again.

-- `frontier` holds the roots of the complete subtrees up to this leaf: what the next append and the tree's root need.
CREATE TABLE audit_leaf (
    tenant_id uuid NOT NULL REFERENCES tenant,
    seq bigint NOT NULL CHECK (seq >= 0),
    leaf bytea NOT NULL CHECK (length(leaf) = 32),
    size bigint NOT NULL CHECK (size > 0),
    frontier bytea NOT NULL CHECK (length(frontier) % 32 = 0 AND length(frontier) > 0),
    PRIMARY KEY (tenant_id, seq)
);
CALL platform.guard_tenant('audit_leaf');
CALL platform.make_append_only('audit_leaf');

CREATE TABLE audit_checkpoint (
    tenant_id uuid NOT NULL REFERENCES tenant,
    size bigint NOT NULL CHECK (size > 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    checkpoint_jws text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, size)
);
CALL platform.guard_tenant('audit_checkpoint');
CALL platform.make_append_only('audit_checkpoint');

-- The chain is replaced. Entries of before keep their text and number, and lie before the tree's first leaf.
ALTER TABLE audit_entry DROP COLUMN prev_hash, DROP COLUMN hash;
