-- Latencies of a session lie in a few milliseconds: only bins that hold something are kept, as two arrays.

ALTER TABLE session_latency ADD COLUMN bins smallint[], ADD COLUMN counts int[];

DO $$
DECLARE
    one uuid;
BEGIN
    -- Row-level security is forced for the owner too, so each tenant's rows are written as that tenant.
    FOR one IN SELECT tenant_id FROM platform.tenant_directory LOOP
        PERFORM set_config('app.tenant', one::text, true);
        UPDATE session_latency SET (bins, counts) = (
            SELECT coalesce(array_agg(n - 1 ORDER BY n), '{}'), coalesce(array_agg(c ORDER BY n), '{}')
            FROM unnest(histogram) WITH ORDINALITY AS u (c, n) WHERE c > 0);
    END LOOP;
    PERFORM set_config('app.tenant', '', true);
END
$$;

ALTER TABLE session_latency
    ALTER COLUMN bins SET NOT NULL,
    ALTER COLUMN counts SET NOT NULL,
    DROP COLUMN histogram,
    ADD CONSTRAINT session_latency_is_paired CHECK (cardinality(bins) = cardinality(counts)),
    ADD CONSTRAINT session_latency_is_bounded CHECK (0 <= ALL (bins) AND 2000 >= ALL (bins)),
    SET (fillfactor = 70);

-- Rule P5, raised inside the writing transaction. FOR KEY SHARE keeps `take` out, which locks FOR UPDATE, until the
-- transaction ends, so that a lease cannot change hands under one that was let through; and it lets a renewal
-- pass, which changes no key, so that a long commit does not cost its own worker the lease.
CREATE OR REPLACE FUNCTION platform.require_leases(wanted_holder text, shards int[], epochs bigint[])
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held int;
BEGIN
    SELECT count(*) INTO held FROM (
        SELECT 1 FROM platform.shard_lease l
        JOIN unnest(shards, epochs) AS w (shard, epoch) ON w.shard = l.shard AND w.epoch = l.epoch
        WHERE l.holder = wanted_holder AND l.expires_at > clock_timestamp()
        ORDER BY l.shard FOR KEY SHARE OF l) AS locked;
    IF held <> cardinality(shards) THEN
        RAISE EXCEPTION 'a shard lease is lost' USING ERRCODE = 'CN001';
    END IF;
END
$$;
