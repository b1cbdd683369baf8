-- name: insert_tenant
INSERT INTO tenant (tenant_id, name, created_at) VALUES (%(tenant)s, %(name)s, %(now)s)

-- name: insert_tenant_directory
INSERT INTO platform.tenant_directory (tenant_id, created_at) VALUES (%(tenant)s, %(now)s)

-- name: list_tenants
SELECT tenant_id FROM platform.tenant_directory ORDER BY created_at, tenant_id

-- name: insert_api_key
INSERT INTO api_key (tenant_id, id, hash, role, scopes, created_at, expires_at)
VALUES (%(tenant)s, %(id)s, %(hash)s, %(role)s, %(scopes)s, %(now)s, %(expires_at)s)

-- name: find_api_key
SELECT tenant_id AS tenant, id, hash, role, scopes, created_at, revoked_at,
    -- PostgreSQL counts years beyond 9999, which no client here can read; such a key was made once.
    CASE WHEN expires_at > '9999-12-30 00:00:00+00' THEN timestamptz '9999-12-30 00:00:00+00' ELSE expires_at END
        AS expires_at
FROM api_key WHERE tenant_id = %(tenant)s AND id = %(id)s

-- name: revoke_api_key
UPDATE api_key SET revoked_at = %(now)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL

-- name: insert_title
INSERT INTO title (tenant_id, id, name, duration_ms, media_sha256, created_at)
VALUES (%(tenant)s, %(id)s, %(name)s, %(duration_ms)s, %(media_sha256)s, %(now)s)
RETURNING id, name, duration_ms, media_sha256, created_at

-- name: list_titles
SELECT id, name, duration_ms, media_sha256, created_at
FROM title WHERE tenant_id = %(tenant)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: insert_study
INSERT INTO study (tenant_id, id, title_id, name, context, jurisdictions, state, created_at)
VALUES (%(tenant)s, %(id)s, %(title_id)s, %(name)s, %(context)s, %(jurisdictions)s, 'draft', %(now)s)
RETURNING id, title_id, name, context, jurisdictions, dpia_version, dpia_approved_at, dpia_approved_by,
    state, created_at

-- name: list_studies
SELECT id, title_id, name, context, jurisdictions, dpia_version, dpia_approved_at, dpia_approved_by,
    state, created_at
FROM study WHERE tenant_id = %(tenant)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: approve_dpia
UPDATE study SET dpia_version = %(version)s, dpia_approved_at = %(now)s, dpia_approved_by = %(approved_by)s
WHERE tenant_id = %(tenant)s AND id = %(id)s
RETURNING id, title_id, name, context, jurisdictions, dpia_version, dpia_approved_at, dpia_approved_by,
    state, created_at

-- name: launch_study
UPDATE study SET state = 'launched'
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state <> 'closed'
RETURNING id, title_id, name, context, jurisdictions, dpia_version, dpia_approved_at, dpia_approved_by,
    state, created_at

-- name: insert_viewer
INSERT INTO viewer (tenant_id, id, pseudonym, created_at)
VALUES (%(tenant)s, %(id)s, %(pseudonym)s, %(now)s)
ON CONFLICT (tenant_id, pseudonym) DO NOTHING

-- name: find_viewer
SELECT id, pseudonym, created_at FROM viewer WHERE tenant_id = %(tenant)s AND pseudonym = %(pseudonym)s

-- name: get_viewer
SELECT id, pseudonym, created_at FROM viewer WHERE tenant_id = %(tenant)s AND id = %(id)s

-- name: list_viewers
SELECT id, pseudonym, created_at FROM viewer WHERE tenant_id = %(tenant)s
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: insert_session
INSERT INTO session (tenant_id, id, study_id, title_id, viewer_id, jurisdiction, locale, state,
    join_token_hash, created_at)
SELECT tenant_id, %(id)s, id, title_id, %(viewer_id)s, %(jurisdiction)s, %(locale)s, 'created',
    %(join_token_hash)s, %(now)s
FROM study
WHERE tenant_id = %(tenant)s AND id = %(study_id)s AND state = 'launched'
    AND %(jurisdiction)s = ANY (jurisdictions)

-- name: list_sessions
SELECT tenant_id AS tenant, id, study_id, title_id, viewer_id, jurisdiction, locale,
    CASE WHEN state <> 'erased' AND EXISTS (
        SELECT FROM erasure_job j
        WHERE j.tenant_id = session.tenant_id AND j.session_id = session.id AND j.done_at IS NULL
            AND j.owed IS NOT NULL)
    THEN 'withdrawn' ELSE state END AS state, epoch,
    created_at, connected_at, closed_at, sealed_at, erased_at, receipt_jws, receipt_sha256,
    receipt_expires_at, purposes, opted_out, close_reason, device_public_key, receipt_ordinal
FROM session
WHERE tenant_id = %(tenant)s
    AND (%(id)s::uuid IS NULL OR id = %(id)s)
    AND (%(study_id)s::uuid IS NULL OR study_id = %(study_id)s)
    AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: has_join_token
SELECT 1 FROM session
WHERE tenant_id = %(tenant)s AND id = %(id)s AND join_token_hash = %(join_token_hash)s

-- name: lock_session_state
SELECT state FROM session WHERE tenant_id = %(tenant)s AND id = %(session)s FOR NO KEY UPDATE

-- name: peek_session_state
SELECT state FROM session WHERE tenant_id = %(tenant)s AND id = %(session)s

-- name: bound_device
SELECT device_public_key FROM session WHERE tenant_id = %(tenant)s AND id = %(session)s

-- name: insert_notice
INSERT INTO notice_event (tenant_id, id, session_id, notice_sha256, locale, shown_at)
VALUES (%(tenant)s, %(id)s, %(session)s, %(notice_sha256)s, %(locale)s, %(now)s)

-- name: find_notice
SELECT 1 FROM notice_event
WHERE tenant_id = %(tenant)s AND session_id = %(session)s AND notice_sha256 = %(notice_sha256)s

-- name: insert_consent
INSERT INTO consent_event (tenant_id, id, session_id, kind, receipt_jws, receipt_sha256, notice_sha256,
    purposes, opted_out, device_public_key, device_signature, signed_request, at)
VALUES (%(tenant)s, %(id)s, %(session)s, %(kind)s, %(receipt_jws)s, %(receipt_sha256)s, %(notice_sha256)s,
    %(purposes)s, %(opted_out)s, %(device_public_key)s, %(device_signature)s, %(signed_request)s, %(now)s)

-- name: list_consents
SELECT id, kind, receipt_jws, receipt_sha256, notice_sha256, purposes, opted_out, device_public_key,
    device_signature, signed_request, at
FROM consent_event WHERE tenant_id = %(tenant)s AND session_id = %(session)s ORDER BY at, id

-- name: give_consent
UPDATE session SET
    state = CASE WHEN state = 'created' THEN 'consented' ELSE state END,
    receipt_jws = %(receipt_jws)s, receipt_sha256 = %(receipt_sha256)s,
    receipt_expires_at = %(receipt_expires_at)s, purposes = %(purposes)s, opted_out = %(opted_out)s,
    device_public_key = coalesce(device_public_key, %(device_public_key)s),
    receipt_ordinal = receipt_ordinal + 1
WHERE tenant_id = %(tenant)s AND id = %(session)s

-- name: mark_withdrawn
UPDATE session SET state = 'withdrawn', closed_at = coalesce(closed_at, %(now)s),
    close_reason = %(close_reason)s
WHERE tenant_id = %(tenant)s AND id = %(session)s

-- name: last_receipt
SELECT receipt_sha256 FROM session WHERE tenant_id = %(tenant)s AND id = %(session)s

-- name: queue_erasure
INSERT INTO erasure_job (tenant_id, id, session_id, reason, requested_at)
VALUES (%(tenant)s, %(id)s, %(session)s, %(reason)s, %(now)s)
ON CONFLICT (tenant_id, session_id) WHERE done_at IS NULL DO NOTHING

-- name: queue_owing_erasure
INSERT INTO erasure_job (tenant_id, id, session_id, reason, requested_at, owed, actor)
VALUES (%(tenant)s, %(id)s, %(session)s, %(reason)s, %(now)s, %(owed)s, %(actor)s)
ON CONFLICT (tenant_id, session_id) WHERE done_at IS NULL DO NOTHING

-- name: clear_owed
UPDATE erasure_job SET owed = NULL
WHERE tenant_id = %(tenant)s AND session_id = %(session)s AND done_at IS NULL

-- name: pending_erasure
SELECT tenant_id AS tenant, id, session_id AS session, reason, requested_at, done_at, owed, actor
FROM erasure_job WHERE tenant_id = %(tenant)s AND session_id = %(session)s AND done_at IS NULL

-- name: list_deletion_receipts
SELECT id, session_id AS session, receipt_jws, at
FROM deletion_receipt WHERE tenant_id = %(tenant)s AND session_id = %(session)s ORDER BY at, id
