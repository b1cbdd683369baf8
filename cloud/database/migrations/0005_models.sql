-- Which models scored a session's frames: several over its life, when a worker was replaced meanwhile.

CREATE TABLE session_model (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    version text NOT NULL CHECK (length(version) <= 64),
    variant text NOT NULL CHECK (length(variant) <= 64),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    frames bigint NOT NULL CHECK (frames > 0),
    first_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, name, version, variant, sha256),
    FOREIGN KEY (tenant_id, session_id) REFERENCES session
) WITH (fillfactor = 70);
CALL platform.guard_tenant('session_model');
GRANT SELECT, INSERT, UPDATE, DELETE ON session_model TO countenance_app;
