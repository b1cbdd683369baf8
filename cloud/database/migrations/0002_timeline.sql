-- Hot packs, what else a session leaves, sealed timelines, and their keys in a schema of their own.

CREATE SCHEMA custody;
GRANT USAGE ON SCHEMA custody TO countenance_app;

-- One second (30 frames) of one face: bit i of mask says that slot i holds frame bucket * 30 + i.
CREATE TABLE frame_pack (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    face smallint NOT NULL CHECK (face >= 0),
    segment int NOT NULL CHECK (segment >= 0),
    bucket int NOT NULL CHECK (bucket >= 0),
    mask bigint NOT NULL CHECK (mask BETWEEN 1 AND (1 << 30) - 1),
    slots bytea NOT NULL CHECK (length(slots) = 480),
    first_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, face, segment, bucket),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
) WITH (fillfactor = 50);
ALTER TABLE frame_pack ALTER COLUMN slots SET STORAGE PLAIN;
CALL platform.guard_tenant('frame_pack');
GRANT SELECT, INSERT, UPDATE, DELETE ON frame_pack TO countenance_app;

-- First wins: only slots whose bit is new are taken over, so a redelivery changes no byte.
CREATE FUNCTION platform.merge_slots(old_mask bigint, old_slots bytea, new_mask bigint, new_slots bytea)
    RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    added bigint := new_mask & ~old_mask;
    merged bytea := old_slots;
    at int;
BEGIN
    FOR slot IN 0..29 LOOP
        EXIT WHEN added >> slot = 0;
        IF (added >> slot) & 1 = 1 THEN
            at := slot * 16 + 1;
            merged := overlay(merged PLACING substring(new_slots FROM at FOR 16) FROM at FOR 16);
        END IF;
    END LOOP;
    RETURN merged;
END
$$;

CREATE TABLE session_segment (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment int NOT NULL CHECK (segment >= 0),
    media_time_ms int NOT NULL,
    monotonic_us bigint NOT NULL,
    rate_permille int NOT NULL,
    PRIMARY KEY (tenant_id, session_id, segment),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CALL platform.guard_tenant('session_segment');
GRANT SELECT, INSERT, DELETE ON session_segment TO countenance_app;

CREATE TABLE session_gap (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    first_frame bigint NOT NULL CHECK (first_frame >= 0),
    last_frame bigint NOT NULL CHECK (last_frame >= first_frame),
    segment int NOT NULL,
    media_time_ms int NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 40),
    PRIMARY KEY (tenant_id, session_id, first_frame, last_frame, reason),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CALL platform.guard_tenant('session_gap');
GRANT SELECT, INSERT, DELETE ON session_gap TO countenance_app;

-- Totals the agent counted; the larger `captured` is the later report.
CREATE TABLE session_counters (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    captured bigint NOT NULL CHECK (captured >= 0),
    with_face bigint NOT NULL CHECK (with_face >= 0),
    sent bigint NOT NULL CHECK (sent >= 0),
    skipped jsonb NOT NULL,
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
) WITH (fillfactor = 70);
CALL platform.guard_tenant('session_counters');
GRANT SELECT, INSERT, UPDATE, DELETE ON session_counters TO countenance_app;

-- From capture to commit, in bins of 1 ms, the last one open. (Capture to classified is in the slots.)
CREATE TABLE session_latency (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    histogram int[] NOT NULL CHECK (cardinality(histogram) = 2001),
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CALL platform.guard_tenant('session_latency');
GRANT SELECT, INSERT, UPDATE, DELETE ON session_latency TO countenance_app;

-- Frames that arrived again after they were stored: harmless, but worth knowing.
CREATE TABLE session_redelivery (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    frames bigint NOT NULL CHECK (frames > 0),
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
CALL platform.guard_tenant('session_redelivery');
GRANT SELECT, INSERT, UPDATE, DELETE ON session_redelivery TO countenance_app;

CREATE TABLE sealed_timeline (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    level text NOT NULL CHECK (level IN ('frame', 'second')),
    blob bytea NOT NULL,
    frames int NOT NULL CHECK (frames >= 0),
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, level),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
);
ALTER TABLE sealed_timeline ALTER COLUMN blob SET STORAGE EXTERNAL;
CALL platform.guard_tenant('sealed_timeline');
GRANT SELECT, INSERT, UPDATE, DELETE ON sealed_timeline TO countenance_app;

-- Rule R2: kept apart from the data, so that a backup can leave them out.
CREATE TABLE custody.session_key (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    wrapped bytea NOT NULL,
    kek_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
);
CALL platform.guard_tenant('custody.session_key');
GRANT SELECT, INSERT, DELETE ON custody.session_key TO countenance_app;
