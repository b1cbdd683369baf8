-- name: read_packs
SELECT face, segment, bucket, mask, slots FROM frame_pack
WHERE tenant_id = %(tenant)s AND session_id = %(session)s
ORDER BY bucket, face, segment

-- name: read_sealed
SELECT t.blob FROM sealed_timeline t
WHERE t.tenant_id = %(tenant)s AND t.session_id = %(session)s AND t.level = %(level)s

-- name: read_gaps
SELECT first_frame, last_frame, segment, media_time_ms, reason FROM session_gap
WHERE tenant_id = %(tenant)s AND session_id = %(session)s ORDER BY first_frame, last_frame, reason

-- name: read_segments
SELECT segment, media_time_ms, monotonic_us, rate_permille FROM session_segment
WHERE tenant_id = %(tenant)s AND session_id = %(session)s ORDER BY segment

-- name: read_models
SELECT name, version, variant, sha256, frames FROM session_model
WHERE tenant_id = %(tenant)s AND session_id = %(session)s ORDER BY first_at, name, version, variant, sha256

-- name: read_counters
SELECT captured, with_face, sent, skipped FROM session_counters
WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: read_latency
SELECT bins, counts FROM session_latency WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: read_redelivered
SELECT frames FROM session_redelivery WHERE tenant_id = %(tenant)s AND session_id = %(session)s
