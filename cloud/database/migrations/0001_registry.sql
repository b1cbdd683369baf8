-- Tenants, keys, titles, studies, viewers, sessions, and what they consented to.
-- Run as the owner role. Every table outside schema platform carries tenant_id and is guarded.

CREATE SCHEMA IF NOT EXISTS platform;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public, platform TO countenance_app;

-- Rule T1: row-level security is enabled and forced, so the owner is bound by it as well.
CREATE PROCEDURE platform.guard_tenant(guarded regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', guarded);
    EXECUTE format(
        'CREATE POLICY tenant_only ON %s USING (tenant_id = platform.current_tenant()) '
        'WITH CHECK (tenant_id = platform.current_tenant())', guarded);
END
$$;

CREATE FUNCTION platform.current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant', true), '')::uuid;

-- Which tenants there are, and nothing about them: the lifecycle worker walks this list.
CREATE TABLE platform.tenant_directory (
    tenant_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON platform.tenant_directory TO countenance_app;

-- Who may write results of a shard. The epoch grows with every change of holder.
CREATE TABLE platform.shard_lease (
    shard int PRIMARY KEY CHECK (shard >= 0),
    holder text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON platform.shard_lease TO countenance_app;

CREATE TABLE tenant (
    tenant_id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL
);
CALL platform.guard_tenant('tenant');
GRANT SELECT, INSERT ON tenant TO countenance_app;

CREATE TABLE api_key (
    tenant_id uuid NOT NULL REFERENCES tenant,
    id uuid NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    role text NOT NULL CHECK (role IN ('analyst', 'admin', 'compliance')),
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CALL platform.guard_tenant('api_key');
GRANT SELECT, INSERT, UPDATE ON api_key TO countenance_app;

CREATE TABLE title (
    tenant_id uuid NOT NULL REFERENCES tenant,
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    duration_ms int NOT NULL CHECK (duration_ms > 0),
    media_sha256 bytea CHECK (length(media_sha256) = 32),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CALL platform.guard_tenant('title');
GRANT SELECT, INSERT ON title TO countenance_app;

CREATE TABLE study (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    title_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    context text NOT NULL,
    jurisdictions text[] NOT NULL,
    dpia_version text,
    dpia_approved_at timestamptz,
    dpia_approved_by text,
    state text NOT NULL CHECK (state IN ('draft', 'launched', 'closed')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, title_id) REFERENCES title,
    -- Rule A2: no reading of expressions at work or in education.
    CONSTRAINT study_context_allowed CHECK (context NOT IN ('workplace', 'education')),
    -- Rule G7: no launch without an approved impact assessment.
    CONSTRAINT study_dpia_before_launch CHECK (
        state = 'draft' OR (dpia_version IS NOT NULL AND dpia_approved_at IS NOT NULL))
);
CALL platform.guard_tenant('study');
GRANT SELECT, INSERT, UPDATE ON study TO countenance_app;

CREATE TABLE viewer (
    tenant_id uuid NOT NULL REFERENCES tenant,
    id uuid NOT NULL,
    pseudonym text NOT NULL CHECK (length(pseudonym) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, pseudonym)
);
CALL platform.guard_tenant('viewer');
GRANT SELECT, INSERT, UPDATE, DELETE ON viewer TO countenance_app;

CREATE TABLE session (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    study_id uuid NOT NULL,
    title_id uuid NOT NULL,
    viewer_id uuid NOT NULL,
    jurisdiction text NOT NULL,
    locale text NOT NULL,
    state text NOT NULL CHECK (
        state IN ('created', 'consented', 'live', 'closed', 'sealed', 'withdrawn', 'erased')),
    epoch bigint NOT NULL DEFAULT 0,
    join_token_hash bytea CHECK (length(join_token_hash) = 32),
    created_at timestamptz NOT NULL,
    connected_at timestamptz,
    closed_at timestamptz,
    sealed_at timestamptz,
    erased_at timestamptz,
    receipt_jws text,
    receipt_sha256 bytea CHECK (length(receipt_sha256) = 32),
    receipt_expires_at timestamptz,
    purposes text[] NOT NULL DEFAULT '{}',
    opted_out text[] NOT NULL DEFAULT '{}',
    close_reason text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, study_id) REFERENCES study,
    FOREIGN KEY (tenant_id, title_id) REFERENCES title,
    FOREIGN KEY (tenant_id, viewer_id) REFERENCES viewer,
    CONSTRAINT session_erased_is_bare CHECK (
        state <> 'erased' OR (erased_at IS NOT NULL AND join_token_hash IS NULL AND receipt_jws IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX session_by_creation ON session (tenant_id, created_at DESC, id);
CREATE INDEX session_by_state ON session (tenant_id, state, closed_at) WHERE state IN ('live', 'closed');
CALL platform.guard_tenant('session');
GRANT SELECT, INSERT, UPDATE ON session TO countenance_app;

-- Rule G3: evidence is append-only. Rows leave only once they are older than the evidence period, and
-- only through platform.purge_evidence.
CREATE FUNCTION platform.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('app.evidence_purge', true) = 'on'
        AND current_user = (SELECT tableowner FROM pg_tables
                            WHERE schemaname = TG_TABLE_SCHEMA AND tablename = TG_TABLE_NAME) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE PROCEDURE platform.make_append_only(guarded regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION platform.refuse_change()', guarded);
    EXECUTE format('CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION platform.refuse_change()', guarded);
    EXECUTE format('GRANT SELECT, INSERT ON %s TO countenance_app', guarded);
END
$$;

CREATE TABLE notice_event (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    notice_sha256 bytea NOT NULL CHECK (length(notice_sha256) = 32),
    locale text NOT NULL,
    shown_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CREATE INDEX notice_event_by_session ON notice_event (tenant_id, session_id);
CALL platform.guard_tenant('notice_event');
CALL platform.make_append_only('notice_event');

CREATE TABLE consent_event (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('given', 'refused', 'withdrawn', 'declared_minor')),
    receipt_sha256 bytea CHECK (length(receipt_sha256) = 32),
    notice_sha256 bytea CHECK (length(notice_sha256) = 32),
    purposes text[] NOT NULL,
    opted_out text[] NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session,
    CONSTRAINT consent_names_its_notice CHECK (
        kind <> 'given' OR (notice_sha256 IS NOT NULL AND receipt_sha256 IS NOT NULL))
);
CREATE INDEX consent_event_by_session ON consent_event (tenant_id, session_id);
CALL platform.guard_tenant('consent_event');
CALL platform.make_append_only('consent_event');

CREATE TABLE audit_entry (
    tenant_id uuid NOT NULL REFERENCES tenant,
    seq bigint NOT NULL CHECK (seq >= 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL,
    prev_hash bytea NOT NULL CHECK (length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, seq)
);
CALL platform.guard_tenant('audit_entry');
CALL platform.make_append_only('audit_entry');

-- What has to be deleted, and whether it was. A withdrawal queues its row in its own transaction.
CREATE TABLE erasure_job (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    reason text NOT NULL CHECK (reason IN ('withdrawal', 'request', 'retention')),
    requested_at timestamptz NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CREATE UNIQUE INDEX erasure_job_pending ON erasure_job (tenant_id, session_id) WHERE done_at IS NULL;
CALL platform.guard_tenant('erasure_job');
GRANT SELECT, INSERT, UPDATE ON erasure_job TO countenance_app;

-- Signed receipts hold no face and no direct identifier; they outlive what they tell of.
CREATE TABLE deletion_receipt (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    receipt_jws text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CREATE INDEX deletion_receipt_by_session ON deletion_receipt (tenant_id, session_id);
CALL platform.guard_tenant('deletion_receipt');
CALL platform.make_append_only('deletion_receipt');

-- Consent evidence has a retention period too (rule R1); a year is the least it is kept.
CREATE FUNCTION platform.purge_evidence(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint := 0;
    part bigint;
BEGIN
    IF before > now() - interval '1 year' THEN
        RAISE EXCEPTION 'evidence is kept for a year at least' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('app.evidence_purge', 'on', true);
    DELETE FROM public.consent_event WHERE at < before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    DELETE FROM public.notice_event WHERE shown_at < before;
    GET DIAGNOSTICS part = ROW_COUNT;
    gone := gone + part;
    PERFORM set_config('app.evidence_purge', 'off', true);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION platform.purge_evidence FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.purge_evidence TO countenance_app;
