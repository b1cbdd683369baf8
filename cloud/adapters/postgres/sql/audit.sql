-- name: lock_log
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s::uuid::text, 6962))

-- name: last_entry
SELECT seq, hash FROM audit_entry WHERE tenant_id = %(tenant)s ORDER BY seq DESC LIMIT 1

-- name: insert_entry
INSERT INTO audit_entry (tenant_id, seq, at, actor, action, subject, detail, prev_hash, hash)
VALUES (%(tenant)s, %(seq)s, 'epoch'::timestamptz + %(at_utc_us)s * interval '1 microsecond', %(actor)s,
    %(action)s, %(subject)s, %(detail)s, %(prev_hash)s, %(hash)s)

-- name: list_entries
SELECT (extract(epoch FROM at) * 1000000)::bigint, actor, action, subject, detail, hash
FROM audit_entry WHERE tenant_id = %(tenant)s ORDER BY seq
