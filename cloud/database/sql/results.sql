-- name: require_leases
SELECT platform.require_leases(%(holder)s, %(shards)s::int[], %(epochs)s::bigint[])

-- name: lock_sessions
-- In one order, before anything is written: a withdrawal, a sealing or an erasure comes before the whole
-- batch or after it, and two of them never wait for each other.
SELECT id FROM session WHERE tenant_id = %(tenant)s AND id = ANY (%(sessions)s::uuid[])
ORDER BY id FOR NO KEY UPDATE

-- name: connect
-- A connection is a sign of life: without it a session that is taken up again after minutes would be closed
-- as lost before its first frame is stored.
WITH heard AS (
    UPDATE session_counters c SET updated_at = %(now)s FROM session s
    WHERE s.tenant_id = %(tenant)s AND s.id = %(session)s AND s.epoch < %(epoch)s
        AND s.state IN ('consented', 'live', 'closed', 'sealed')
        AND c.tenant_id = s.tenant_id AND c.session_id = s.id
)
UPDATE session SET
    state = CASE WHEN state IN ('consented', 'closed', 'sealed') THEN 'live' ELSE state END,
    epoch = %(epoch)s, connected_at = coalesce(connected_at, %(at)s), closed_at = NULL, close_reason = NULL
WHERE tenant_id = %(tenant)s AND id = %(session)s AND epoch < %(epoch)s
    AND state IN ('consented', 'live', 'closed', 'sealed')

-- name: close
UPDATE session SET
    state = CASE WHEN state = 'sealed' THEN state ELSE 'closed' END,
    epoch = %(epoch)s, closed_at = coalesce(closed_at, %(at)s), close_reason = coalesce(close_reason, %(kind)s)
WHERE tenant_id = %(tenant)s AND id = %(session)s AND epoch <= %(epoch)s
    AND state IN ('consented', 'live', 'sealed')

-- name: insert_segments
INSERT INTO session_segment (tenant_id, session_id, segment, media_time_ms, monotonic_us, rate_permille)
SELECT s.tenant_id, s.id, i.segment, i.media_time_ms, i.monotonic_us, i.rate_permille
FROM unnest(%(sessions)s::uuid[], %(segment)s::int[], %(media_time_ms)s::int[], %(monotonic_us)s::bigint[],
    %(rate_permille)s::int[]) AS i (session_id, segment, media_time_ms, monotonic_us, rate_permille)
JOIN session s ON s.tenant_id = %(tenant)s AND s.id = i.session_id AND s.state NOT IN ('withdrawn', 'erased')
ON CONFLICT DO NOTHING

-- name: insert_gaps
INSERT INTO session_gap (tenant_id, session_id, first_frame, last_frame, segment, media_time_ms, reason)
SELECT s.tenant_id, s.id, i.first_frame, i.last_frame, i.segment, i.media_time_ms, i.reason
FROM unnest(%(sessions)s::uuid[], %(first_frame)s::bigint[], %(last_frame)s::bigint[], %(segment)s::int[],
    %(media_time_ms)s::int[], %(reason)s::text[])
    AS i (session_id, first_frame, last_frame, segment, media_time_ms, reason)
JOIN session s ON s.tenant_id = %(tenant)s AND s.id = i.session_id AND s.state NOT IN ('withdrawn', 'erased')
ON CONFLICT DO NOTHING

-- name: raise_counters
-- One row a session: the batch's latest totals.
INSERT INTO session_counters AS c (tenant_id, session_id, captured, with_face, sent, skipped, updated_at)
SELECT s.tenant_id, s.id, i.captured, i.with_face, i.sent, i.skipped, %(now)s
FROM unnest(%(sessions)s::uuid[], %(captured)s::bigint[], %(with_face)s::bigint[], %(sent)s::bigint[],
    %(skipped)s::jsonb[]) AS i (session_id, captured, with_face, sent, skipped)
JOIN session s ON s.tenant_id = %(tenant)s AND s.id = i.session_id AND s.state NOT IN ('withdrawn', 'erased')
ON CONFLICT (tenant_id, session_id) DO UPDATE SET
    captured = excluded.captured, with_face = excluded.with_face, sent = excluded.sent,
    skipped = excluded.skipped, updated_at = excluded.updated_at
WHERE excluded.captured > c.captured OR (excluded.captured = c.captured AND excluded.sent >= c.sent)

-- name: merge_packs
-- Locks the sessions first, so that a withdrawal or a sealing comes either before or after.
WITH incoming AS (
    SELECT * FROM unnest(%(sessions)s::uuid[], %(faces)s::smallint[], %(segments)s::int[], %(buckets)s::int[],
        %(masks)s::bigint[], %(slots)s::bytea[]) AS i (session_id, face, segment, bucket, mask, slots)
), accepting AS MATERIALIZED (
    SELECT id FROM session
    WHERE tenant_id = %(tenant)s AND id IN (SELECT session_id FROM incoming)
        AND state IN ('consented', 'live', 'closed', 'sealed')
    ORDER BY id FOR NO KEY UPDATE
), merged AS (
    INSERT INTO frame_pack AS p (tenant_id, session_id, face, segment, bucket, mask, slots, first_at, updated_at)
    SELECT %(tenant)s, i.session_id, i.face, i.segment, i.bucket, i.mask, i.slots, %(now)s, %(now)s
    FROM incoming i JOIN accepting a ON a.id = i.session_id
    ORDER BY i.session_id, i.face, i.segment, i.bucket
    ON CONFLICT (tenant_id, session_id, face, segment, bucket) DO UPDATE SET
        mask = p.mask | excluded.mask,
        slots = platform.merge_slots(p.mask, p.slots, excluded.mask, excluded.slots),
        updated_at = excluded.updated_at
    WHERE excluded.mask & ~p.mask <> 0
    RETURNING new.session_id, new.face, new.segment, new.bucket,
        new.mask & ~coalesce(old.mask, 0) AS added
)
SELECT i.session_id, i.face, i.segment, i.bucket, coalesce(m.added, 0)
FROM incoming i JOIN accepting a ON a.id = i.session_id
LEFT JOIN merged m USING (session_id, face, segment, bucket)

-- name: credit_models
INSERT INTO session_model AS m (tenant_id, session_id, name, version, variant, sha256, frames, first_at)
SELECT %(tenant)s, i.session_id, i.name, i.version, i.variant, i.sha256, i.frames, %(now)s
FROM unnest(%(sessions)s::uuid[], %(names)s::text[], %(versions)s::text[], %(variants)s::text[],
    %(digests)s::bytea[], %(frames)s::bigint[]) AS i (session_id, name, version, variant, sha256, frames)
ON CONFLICT (tenant_id, session_id, name, version, variant, sha256) DO UPDATE SET
    frames = m.frames + excluded.frames

-- name: add_latencies
-- Only bins that hold something: a session's latencies lie in a few dozen of the 2001.
WITH incoming AS (
    SELECT i.session_id, array_agg(i.bin ORDER BY i.bin) AS bins, array_agg(i.count ORDER BY i.bin) AS counts
    FROM unnest(%(sessions)s::uuid[], %(bins)s::smallint[], %(counts)s::int[]) AS i (session_id, bin, count)
    JOIN session s ON s.tenant_id = %(tenant)s AND s.id = i.session_id AND s.state NOT IN ('withdrawn', 'erased')
    GROUP BY i.session_id
)
INSERT INTO session_latency AS l (tenant_id, session_id, bins, counts)
SELECT %(tenant)s, session_id, bins, counts FROM incoming
ON CONFLICT (tenant_id, session_id) DO UPDATE SET (bins, counts) = (
    SELECT array_agg(bin ORDER BY bin), array_agg(count ORDER BY bin) FROM (
        SELECT u.bin, sum(u.count)::int AS count FROM (
            SELECT * FROM unnest(l.bins, l.counts)
            UNION ALL SELECT * FROM unnest(excluded.bins, excluded.counts)) AS u (bin, count)
        GROUP BY u.bin) AS merged)

-- name: add_redelivered
INSERT INTO session_redelivery AS r (tenant_id, session_id, frames)
SELECT s.tenant_id, s.id, i.frames
FROM unnest(%(sessions)s::uuid[], %(frames)s::bigint[]) AS i (session_id, frames)
JOIN session s ON s.tenant_id = %(tenant)s AND s.id = i.session_id AND s.state NOT IN ('withdrawn', 'erased')
ON CONFLICT (tenant_id, session_id) DO UPDATE SET frames = r.frames + excluded.frames
