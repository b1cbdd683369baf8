-- name: queue_due_timelines
INSERT INTO erasure_job (tenant_id, id, session_id, reason, requested_at)
SELECT tenant_id, gen_random_uuid(), id, 'retention', %(now)s FROM session
WHERE tenant_id = %(tenant)s AND state <> 'erased' AND (
    closed_at <= %(timeline)s
    -- an invitation that was never taken up has no end to count from
    OR (state IN ('created', 'consented') AND created_at <= %(timeline)s
        AND coalesce(receipt_expires_at <= %(now)s, true)))
ON CONFLICT (tenant_id, session_id) WHERE done_at IS NULL DO NOTHING

-- name: delete_due_facts
WITH due AS (
    SELECT id FROM session WHERE tenant_id = %(tenant)s AND state <> 'erased' AND closed_at <= %(session_facts)s
), gaps AS (
    DELETE FROM session_gap g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id
), segments AS (
    DELETE FROM session_segment g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id
), counters AS (
    DELETE FROM session_counters g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id
), latency AS (
    DELETE FROM session_latency g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id
), models AS (
    DELETE FROM session_model g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id
)
DELETE FROM session_redelivery g USING due WHERE g.tenant_id = %(tenant)s AND g.session_id = due.id

-- name: purge_evidence
SELECT platform.purge_evidence(%(consent_evidence)s)

-- name: purge_records
SELECT platform.purge_records(%(deletion_receipt)s, %(audit_entry)s)

-- name: oldest_anchors
SELECT
    (SELECT min(s.closed_at) FROM frame_pack p JOIN session s ON s.tenant_id = p.tenant_id AND s.id = p.session_id
     WHERE p.tenant_id = %(tenant)s AND s.state NOT IN ('live', 'consented')) AS hot_frames,
    (SELECT min(s.closed_at) FROM sealed_timeline t
     JOIN session s ON s.tenant_id = t.tenant_id AND s.id = t.session_id
     WHERE t.tenant_id = %(tenant)s) AS timeline,
    (SELECT min(s.closed_at) FROM session_counters c
     JOIN session s ON s.tenant_id = c.tenant_id AND s.id = c.session_id
     WHERE c.tenant_id = %(tenant)s) AS session_facts,
    (SELECT min(at) FROM consent_event WHERE tenant_id = %(tenant)s) AS consent_evidence,
    (SELECT min(at) FROM deletion_receipt WHERE tenant_id = %(tenant)s) AS deletion_receipt,
    (SELECT min(at) FROM audit_entry WHERE tenant_id = %(tenant)s) AS audit_entry
