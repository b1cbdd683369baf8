-- name: close_lost
-- Also where the word of the connection itself was lost, but not what came after it.
UPDATE session s SET state = 'closed', closed_at = %(now)s, close_reason = 'lost'
WHERE s.tenant_id = %(tenant)s AND (
        (s.state = 'live' AND s.connected_at <= %(silent_before)s)
        OR (s.state = 'consented' AND (
            EXISTS (SELECT 1 FROM frame_pack p WHERE p.tenant_id = s.tenant_id AND p.session_id = s.id)
            OR EXISTS (SELECT 1 FROM sealed_timeline t WHERE t.tenant_id = s.tenant_id AND t.session_id = s.id)
            OR EXISTS (SELECT 1 FROM session_counters c
                       WHERE c.tenant_id = s.tenant_id AND c.session_id = s.id))))
    AND NOT EXISTS (SELECT 1 FROM frame_pack p
                    WHERE p.tenant_id = s.tenant_id AND p.session_id = s.id AND p.updated_at > %(silent_before)s)
    AND NOT EXISTS (SELECT 1 FROM session_counters c
                    WHERE c.tenant_id = s.tenant_id AND c.session_id = s.id AND c.updated_at > %(silent_before)s)

-- name: find_due
SELECT s.id FROM session s
LEFT JOIN (SELECT session_id, max(updated_at) AS last_at FROM frame_pack
           WHERE tenant_id = %(tenant)s GROUP BY session_id) p ON p.session_id = s.id
WHERE s.tenant_id = %(tenant)s AND (
    (s.state = 'closed' AND s.closed_at <= %(closed_before)s
        AND (p.last_at IS NULL OR p.last_at <= %(closed_before)s))
    OR (s.state = 'sealed' AND p.last_at <= %(closed_before)s)
    OR (s.state IN ('consented', 'live') AND p.last_at <= %(silent_before)s))
ORDER BY s.id

-- name: lock_session
SELECT s.state, s.opted_out, t.duration_ms FROM session s
JOIN title t ON t.tenant_id = s.tenant_id AND t.id = s.title_id
WHERE s.tenant_id = %(tenant)s AND s.id = %(session)s FOR NO KEY UPDATE OF s

-- name: take_keys
DELETE FROM custody.session_key WHERE tenant_id = %(tenant)s RETURNING session_id, wrapped, kek_id

-- name: put_sealed
INSERT INTO sealed_timeline AS t (tenant_id, session_id, level, blob, frames, sealed_at)
VALUES (%(tenant)s, %(session)s, %(level)s, %(blob)s, %(frames)s, %(now)s)
ON CONFLICT (tenant_id, session_id, level) DO UPDATE SET
    blob = excluded.blob, frames = excluded.frames, sealed_at = excluded.sealed_at

-- name: delete_packs
DELETE FROM frame_pack WHERE tenant_id = %(tenant)s AND session_id = %(session)s

-- name: mark_sealed
UPDATE session SET sealed_at = %(now)s, state = CASE WHEN state = 'closed' THEN 'sealed' ELSE state END
WHERE tenant_id = %(tenant)s AND id = %(session)s
