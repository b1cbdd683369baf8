-- Which tenants the lifecycle worker has something to do for; what time it last knew; what it may clean.

-- Sessions by their end, and invitations by their making: what is overdue is found without reading the rest.
CREATE INDEX session_by_end ON session (tenant_id, closed_at) WHERE state <> 'erased';
CREATE INDEX session_waiting ON session (tenant_id, created_at) WHERE state IN ('created', 'consented');

-- One question instead of several a tenant. It binds itself to each tenant in turn, as the application would: the
-- row-level policies stay as they are, for the owner as well (rule T1).
CREATE FUNCTION platform.tenants_due(
    overdue boolean, silent_before timestamptz, timeline timestamptz, session_facts timestamptz)
    RETURNS TABLE (tenant_id uuid, to_erase boolean, to_seal boolean, to_retain boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    bound text := current_setting('app.tenant', true);
    one uuid;
BEGIN
    FOR one IN SELECT d.tenant_id FROM platform.tenant_directory d ORDER BY d.created_at, d.tenant_id LOOP
        PERFORM set_config('app.tenant', one::text, true);
        tenant_id := one;
        to_erase := EXISTS (SELECT 1 FROM public.erasure_job j WHERE j.tenant_id = one AND j.done_at IS NULL);
        to_seal := EXISTS (SELECT 1 FROM public.frame_pack p WHERE p.tenant_id = one)
            OR EXISTS (SELECT 1 FROM public.session s WHERE s.tenant_id = one AND s.state = 'closed')
            OR EXISTS (SELECT 1 FROM public.session s
                       WHERE s.tenant_id = one AND s.state = 'live' AND s.connected_at <= silent_before);
        to_retain := false;
        IF overdue THEN
            -- where the word of a connection was lost, the session's counters tell of it
            to_seal := to_seal OR EXISTS (
                SELECT 1 FROM public.session s JOIN public.session_counters c
                    ON c.tenant_id = s.tenant_id AND c.session_id = s.id
                WHERE s.tenant_id = one AND s.state = 'consented');
            to_retain := EXISTS (
                    SELECT 1 FROM public.session s WHERE s.tenant_id = one AND s.state <> 'erased'
                        AND s.closed_at <= greatest(timeline, session_facts))
                OR EXISTS (
                    SELECT 1 FROM public.session s WHERE s.tenant_id = one
                        AND s.state IN ('created', 'consented') AND s.created_at <= timeline);
        END IF;
        IF to_erase OR to_seal OR to_retain THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    PERFORM set_config('app.tenant', coalesce(bound, ''), true);
END
$$;

-- Until when the lifecycle worker's clock was believed: one that is far ahead of it deletes nothing for its age.
CREATE TABLE platform.lifecycle_clock (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    seen_at timestamptz NOT NULL
);
INSERT INTO platform.lifecycle_clock (seen_at) VALUES (now());
GRANT SELECT, UPDATE ON platform.lifecycle_clock TO countenance_app;

-- After erasures the application rewrites these tables, so that no page keeps what was deleted from it.
GRANT MAINTAIN ON frame_pack, custody.session_key TO countenance_app;
