-- name: beat
INSERT INTO platform.aggregate_worker (holder, expires_at)
VALUES (%(holder)s, clock_timestamp() + %(ttl_ms)s * interval '1 ms')
ON CONFLICT (holder) DO UPDATE SET expires_at = excluded.expires_at

-- name: forget_dead
DELETE FROM platform.aggregate_worker WHERE expires_at < clock_timestamp() - interval '1 minute'

-- name: count_living
SELECT count(*) FROM platform.aggregate_worker WHERE expires_at > clock_timestamp()

-- name: renew
-- A lease that ran out and that nobody took is its holder's again: the epoch alone says whether it changed hands.
UPDATE platform.shard_lease AS l SET expires_at = clock_timestamp() + %(ttl_ms)s * interval '1 ms'
FROM unnest(%(shards)s::int[], %(epochs)s::bigint[]) AS w (shard, epoch)
WHERE l.shard = w.shard AND l.epoch = w.epoch AND l.holder = %(holder)s
RETURNING l.shard, l.epoch

-- name: take
-- FOR UPDATE waits for nobody and passes over a lease under which a transaction still writes (FOR KEY SHARE).
WITH over AS (
    SELECT shard FROM platform.shard_lease
    WHERE shard = ANY (%(shards)s::int[]) AND expires_at <= clock_timestamp()
    ORDER BY shard LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), free AS (
    SELECT w.shard FROM unnest(%(shards)s::int[]) AS w (shard)
    LEFT JOIN platform.shard_lease known USING (shard)
    WHERE known.shard IS NULL OR w.shard IN (SELECT shard FROM over)
    ORDER BY w.shard LIMIT %(limit)s
)
INSERT INTO platform.shard_lease AS l (shard, holder, epoch, expires_at)
SELECT shard, %(holder)s, 1, clock_timestamp() + %(ttl_ms)s * interval '1 ms' FROM free
ON CONFLICT (shard) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
WHERE l.expires_at <= clock_timestamp()
RETURNING shard, epoch

-- name: release
UPDATE platform.shard_lease AS l SET expires_at = clock_timestamp()
FROM unnest(%(shards)s::int[], %(epochs)s::bigint[]) AS w (shard, epoch)
WHERE l.shard = w.shard AND l.epoch = w.epoch AND l.holder = %(holder)s

-- name: leave
DELETE FROM platform.aggregate_worker WHERE holder = %(holder)s
