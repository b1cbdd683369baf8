-- name: beat
INSERT INTO platform.aggregate_worker (holder, expires_at)
VALUES (%(holder)s, clock_timestamp() + %(ttl_ms)s * interval '1 ms')
ON CONFLICT (holder) DO UPDATE SET expires_at = excluded.expires_at

-- name: forget_dead
DELETE FROM platform.aggregate_worker WHERE expires_at < clock_timestamp() - interval '1 minute'

-- name: count_living
SELECT count(*) FROM platform.aggregate_worker WHERE expires_at > clock_timestamp()

-- name: renew
UPDATE platform.shard_lease AS l SET expires_at = clock_timestamp() + %(ttl_ms)s * interval '1 ms'
FROM unnest(%(shards)s::int[], %(epochs)s::bigint[]) AS w (shard, epoch)
WHERE l.shard = w.shard AND l.epoch = w.epoch AND l.holder = %(holder)s AND l.expires_at > clock_timestamp()
RETURNING l.shard, l.epoch

-- name: take
INSERT INTO platform.shard_lease AS l (shard, holder, epoch, expires_at)
SELECT w.shard, %(holder)s, 1, clock_timestamp() + %(ttl_ms)s * interval '1 ms'
FROM unnest(%(shards)s::int[]) AS w (shard)
LEFT JOIN platform.shard_lease held ON held.shard = w.shard AND held.expires_at > clock_timestamp()
WHERE held.shard IS NULL
ORDER BY w.shard LIMIT %(limit)s
ON CONFLICT (shard) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
WHERE l.expires_at <= clock_timestamp()
RETURNING shard, epoch

-- name: release
UPDATE platform.shard_lease AS l SET expires_at = clock_timestamp()
FROM unnest(%(shards)s::int[], %(epochs)s::bigint[]) AS w (shard, epoch)
WHERE l.shard = w.shard AND l.epoch = w.epoch AND l.holder = %(holder)s

-- name: leave
DELETE FROM platform.aggregate_worker WHERE holder = %(holder)s
