-- name: lock_log
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s::uuid::text, 6962))

-- name: last_entry
SELECT seq, hash FROM audit_entry WHERE tenant_id = %(tenant)s ORDER BY seq DESC LIMIT 1

-- name: insert_entry
INSERT INTO audit_entry (tenant_id, seq, at, actor, action, subject, detail, prev_hash, hash)
VALUES (%(tenant)s, %(seq)s, %(now)s, %(actor)s, %(action)s, %(subject)s, %(detail)s, %(prev_hash)s, %(hash)s)
