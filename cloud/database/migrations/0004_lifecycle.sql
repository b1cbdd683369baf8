-- What sealing, retention and erasure need to know.

-- A session whose counters still arrive is alive, even when no face is in view.
ALTER TABLE session_counters ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- The signed receipt is evidence of consent: it outlives the session's own copy.
ALTER TABLE consent_event ADD COLUMN receipt_jws text;

DROP FUNCTION platform.purge_records(timestamptz);

CREATE FUNCTION platform.purge_records(receipts_before timestamptz, audit_before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint := 0;
    part bigint;
BEGIN
    IF greatest(receipts_before, audit_before) > now() - interval '1 year' THEN
        RAISE EXCEPTION 'records are kept for a year at least' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('app.evidence_purge', 'on', true);
    DELETE FROM public.deletion_receipt WHERE at < receipts_before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    DELETE FROM public.audit_entry WHERE at < audit_before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    PERFORM set_config('app.evidence_purge', 'off', true);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION platform.purge_records FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.purge_records TO countenance_app;
