-- name: wait_briefly
SET lock_timeout = '1s'

-- name: wait_as_usual
RESET lock_timeout

-- name: size_of_frame_pack
SELECT pg_total_relation_size('public.frame_pack')

-- name: size_of_session_key
SELECT pg_total_relation_size('custody.session_key')

-- name: rewrite_frame_pack
VACUUM (FULL) public.frame_pack

-- name: rewrite_session_key
VACUUM (FULL) custody.session_key

-- name: switch_segment
SELECT pg_switch_wal()

-- name: checkpoint
CHECKPOINT
