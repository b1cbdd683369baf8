-- Which aggregate workers live, so that each takes its share of the shards; how leases are checked.

CREATE TABLE platform.aggregate_worker (
    holder text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON platform.aggregate_worker TO countenance_app;

-- Rule P5: raised inside the writing transaction. The rows stay locked until it ends, so a lease cannot
-- change hands under a transaction that was let through.
CREATE FUNCTION platform.require_leases(wanted_holder text, shards int[], epochs bigint[])
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held int;
BEGIN
    SELECT count(*) INTO held FROM (
        SELECT 1 FROM platform.shard_lease l
        JOIN unnest(shards, epochs) AS w (shard, epoch) ON w.shard = l.shard AND w.epoch = l.epoch
        WHERE l.holder = wanted_holder AND l.expires_at > clock_timestamp()
        ORDER BY l.shard FOR SHARE OF l) AS locked;
    IF held <> cardinality(shards) THEN
        RAISE EXCEPTION 'a shard lease is lost' USING ERRCODE = 'CN001';
    END IF;
END
$$;

-- Rule R1 for what is kept longest: receipts of deletions and the oldest part of the audit log.
CREATE FUNCTION platform.purge_records(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint := 0;
    part bigint;
BEGIN
    IF before > now() - interval '1 year' THEN
        RAISE EXCEPTION 'records are kept for a year at least' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('app.evidence_purge', 'on', true);
    DELETE FROM public.deletion_receipt WHERE at < before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    DELETE FROM public.audit_entry WHERE at < before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    PERFORM set_config('app.evidence_purge', 'off', true);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION platform.purge_records FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.purge_records TO countenance_app;
