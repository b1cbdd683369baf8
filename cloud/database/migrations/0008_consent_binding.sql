-- Who consented on which device, what an ending still owes, and in which contexts a study may run.

-- The first consent binds its session to the device that signed it; the ordinal orders a session's consents.
ALTER TABLE session
    ADD COLUMN device_public_key bytea CHECK (length(device_public_key) = 32),
    ADD COLUMN receipt_ordinal int NOT NULL DEFAULT 0 CHECK (receipt_ordinal >= 0);

-- Rule G3: what the device signed, its signature and its key are evidence of who consented.
ALTER TABLE consent_event
    ADD COLUMN device_public_key bytea CHECK (length(device_public_key) = 32),
    ADD COLUMN device_signature bytea CHECK (length(device_signature) = 64),
    ADD COLUMN signed_request text CHECK (length(signed_request) <= 4096);

-- Rule G2: a deletion is queued also while somebody holds its session's row, so it must not ask for that row.
-- `owed` is the event that the row still has to take, `actor` who caused it.
ALTER TABLE erasure_job
    DROP CONSTRAINT erasure_job_tenant_id_session_id_fkey,
    ADD COLUMN owed text CHECK (owed IN ('withdrawn', 'declared_minor', 'erasure_requested')),
    ADD COLUMN actor text;

-- Rule A2: a closed list. Studies of an earlier version in another context stay to be read, and can do nothing more.
ALTER TABLE study DROP CONSTRAINT study_context_allowed;
ALTER TABLE study ADD CONSTRAINT study_context_allowed CHECK (context IN (
    'home', 'audience_research', 'trailer_test', 'film_test', 'series_test', 'advertising_test', 'game_test',
    'music_video_test', 'academic_audience_study')) NOT VALID;
