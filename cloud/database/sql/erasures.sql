-- name: list_pending
SELECT tenant_id AS tenant, id, session_id AS session, reason, requested_at, done_at, owed, actor
FROM erasure_job WHERE tenant_id = %(tenant)s AND done_at IS NULL
ORDER BY requested_at, id LIMIT %(limit)s

-- name: list_erased
SELECT id, erased_at FROM session
WHERE tenant_id = %(tenant)s AND state = 'erased' AND erased_at > %(since)s

-- name: lock_session
SELECT s.state, v.pseudonym FROM session s
JOIN viewer v ON v.tenant_id = s.tenant_id AND v.id = s.viewer_id
WHERE s.tenant_id = %(tenant)s AND s.id = %(session)s FOR NO KEY UPDATE OF s

-- name: delete_key
DELETE FROM custody.session_key WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: delete_frames
DELETE FROM frame_pack WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: delete_timelines
DELETE FROM sealed_timeline WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: delete_facts
WITH gaps AS (
    DELETE FROM session_gap WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
), segments AS (
    DELETE FROM session_segment WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
), counters AS (
    DELETE FROM session_counters WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
), latency AS (
    DELETE FROM session_latency WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
), models AS (
    DELETE FROM session_model WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
), redelivery AS (
    DELETE FROM session_redelivery WHERE tenant_id = %(tenant)s AND session_id = %(session)s RETURNING 1
)
SELECT 1 FROM gaps UNION ALL SELECT 1 FROM segments UNION ALL SELECT 1 FROM counters
UNION ALL SELECT 1 FROM latency UNION ALL SELECT 1 FROM models UNION ALL SELECT 1 FROM redelivery

-- name: count_left
SELECT
    (SELECT count(*) FROM custody.session_key WHERE tenant_id = %(tenant)s AND session_id = %(session)s),
    (SELECT count(*) FROM frame_pack WHERE tenant_id = %(tenant)s AND session_id = %(session)s),
    (SELECT count(*) FROM sealed_timeline WHERE tenant_id = %(tenant)s AND session_id = %(session)s),
    (SELECT count(*) FROM session_gap WHERE tenant_id = %(tenant)s AND session_id = %(session)s)
    + (SELECT count(*) FROM session_segment WHERE tenant_id = %(tenant)s AND session_id = %(session)s)
    + (SELECT count(*) FROM session_counters WHERE tenant_id = %(tenant)s AND session_id = %(session)s)
    + (SELECT count(*) FROM session_latency WHERE tenant_id = %(tenant)s AND session_id = %(session)s)
    + (SELECT count(*) FROM session_model WHERE tenant_id = %(tenant)s AND session_id = %(session)s)
    + (SELECT count(*) FROM session_redelivery WHERE tenant_id = %(tenant)s AND session_id = %(session)s),
    (SELECT count(*) FROM session WHERE tenant_id = %(tenant)s AND id = %(session)s AND state <> 'erased')

-- name: mark_erased
UPDATE session SET state = 'erased', erased_at = %(now)s, closed_at = coalesce(closed_at, %(now)s),
    join_token_hash = NULL, receipt_jws = NULL, device_public_key = NULL, purposes = '{}', opted_out = '{}'
WHERE tenant_id = %(tenant)s AND id = %(session)s AND state <> 'erased'

-- name: finish_job
UPDATE erasure_job SET done_at = %(now)s
WHERE tenant_id = %(tenant)s AND session_id = %(session)s AND done_at IS NULL

-- name: insert_receipt
INSERT INTO deletion_receipt (tenant_id, id, session_id, receipt_jws, at)
VALUES (%(tenant)s, %(receipt_id)s, %(session)s, %(receipt_jws)s, %(now)s)
