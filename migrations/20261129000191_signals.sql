-- What is taken for a word about an answer, though nobody said one: that the same was asked again.

ALTER TABLE feedback
    DROP CONSTRAINT feedback_source_check,
    ADD CONSTRAINT feedback_source_check CHECK (source IN ('api', 'page', 'asked_again'));

-- Up to when the log was looked through for it.
ALTER TABLE learned ADD COLUMN signals_until timestamptz;

-- Whose log is to be looked through, and from when on: of those who made calls since, at most an
-- hour of them, and no more than every two minutes.
CREATE FUNCTION app.signals_due() RETURNS TABLE (organization_id uuid, since timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, s.since
      FROM organizations o
      LEFT JOIN learned l ON l.organization_id = o.id
     CROSS JOIN LATERAL (
           SELECT greatest(l.signals_until, now() - interval '1 hour') AS since) s
     WHERE o.archived_at IS NULL AND coalesce(l.is_on, true)
       AND s.since < now() - interval '7 minutes'
       AND EXISTS (SELECT FROM request_events r
                    WHERE r.organization_id = o.id
                      AND r.request_id >= app.first_request(s.since))
     ORDER BY s.since
     LIMIT 100
$$;
ALTER FUNCTION app.signals_due() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.signals_due() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.signals_due() TO turnpike_app;
