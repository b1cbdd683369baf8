-- name: tenants_due
SELECT tenant_id, to_erase, to_seal, to_retain FROM platform.tenants_due(
    %(overdue)s, %(silent_before)s, %(timeline)s, %(session_facts)s)

-- name: read_clock
SELECT clock_timestamp(), seen_at FROM platform.lifecycle_clock

-- name: believe_clock
UPDATE platform.lifecycle_clock SET seen_at = %(now)s WHERE seen_at < %(now)s
