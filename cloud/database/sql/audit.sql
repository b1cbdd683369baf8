-- name: lock_log
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s::uuid::text, 6962))

-- name: last_leaf
SELECT seq, size, frontier FROM audit_leaf WHERE tenant_id = %(tenant)s ORDER BY seq DESC LIMIT 1

-- name: next_before_tree
-- Entries that are older than the tree keep their numbers.
SELECT coalesce(max(seq) + 1, 0) FROM audit_entry WHERE tenant_id = %(tenant)s

-- name: insert_entry
INSERT INTO audit_entry (tenant_id, seq, at, actor, action, subject, detail)
VALUES (%(tenant)s, %(seq)s, 'epoch'::timestamptz + %(at_utc_us)s * interval '1 microsecond', %(actor)s,
    %(action)s, %(subject)s, %(detail)s)

-- name: insert_leaf
INSERT INTO audit_leaf (tenant_id, seq, leaf, size, frontier)
VALUES (%(tenant)s, %(seq)s, %(leaf)s, %(size)s, %(frontier)s)

-- name: list_entries
SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, actor, action, subject, detail
FROM audit_entry WHERE tenant_id = %(tenant)s ORDER BY seq

-- name: list_leaves
SELECT seq, leaf FROM audit_leaf WHERE tenant_id = %(tenant)s ORDER BY seq

-- name: last_checkpoint
SELECT coalesce(max(size), 0) FROM audit_checkpoint WHERE tenant_id = %(tenant)s

-- name: insert_checkpoint
INSERT INTO audit_checkpoint (tenant_id, size, root, checkpoint_jws, at)
VALUES (%(tenant)s, %(size)s, %(root)s, %(jws)s, %(now)s)
ON CONFLICT DO NOTHING

-- name: list_checkpoints
SELECT checkpoint_jws FROM audit_checkpoint WHERE tenant_id = %(tenant)s ORDER BY size
