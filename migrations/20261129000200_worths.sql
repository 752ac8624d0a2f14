-- What an organization's policies spend a dollar for, so that its calls come to their goals
-- together. A job finds it out from the log.

ALTER TABLE learned
    -- Of each policy and goal, and from how many calls that is known.
    ADD COLUMN worths jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(worths) = 'array'),
    ADD COLUMN worths_at timestamptz;

CREATE TRIGGER note_worths_begun AFTER INSERT ON learned
    FOR EACH ROW WHEN (NEW.worths <> '[]')
    EXECUTE FUNCTION app.note_change('organization', 'organization_id');
CREATE TRIGGER note_worths AFTER UPDATE ON learned
    FOR EACH ROW WHEN (OLD.worths <> NEW.worths)
    EXECUTE FUNCTION app.note_change('organization', 'organization_id');

-- Whose log is to be looked through for it: of those who made calls since, once an hour.
CREATE FUNCTION app.worths_due() RETURNS TABLE (organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id
      FROM organizations o
      LEFT JOIN learned l ON l.organization_id = o.id
     WHERE o.archived_at IS NULL
       AND (l.worths_at IS NULL OR l.worths_at < now() - interval '1 hour')
       AND EXISTS (SELECT FROM request_events r
                    WHERE r.organization_id = o.id
                      AND r.request_id >= app.first_request(now() - interval '30 days')
                      AND r.request_id >= app.first_request(coalesce(l.worths_at, now() - interval '30 days')))
     ORDER BY l.worths_at NULLS FIRST
     LIMIT 100
$$;
ALTER FUNCTION app.worths_due() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.worths_due() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.worths_due() TO turnpike_app;

DROP FUNCTION app.snapshot_organizations(uuid[]);
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, disabled_upstreams uuid[], disabled_models text[],
        books uuid[], books_from bigint[], books_until bigint[], default_model text,
        policy_id uuid, explore_per_mille smallint, worths jsonb
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
           coalesce(d.upstreams, '{}'), coalesce(d.models, '{}'),
           coalesce(b.books, '{}'), coalesce(b.froms, '{}'), coalesce(b.untils, '{}'),
           r.default_model, r.policy_id, coalesce(l.explore_per_mille, 0::smallint),
           coalesce(l.worths, '[]')
      FROM organizations o
      LEFT JOIN routing_defaults r
             ON r.organization_id = o.id AND r.project_id IS NULL AND r.key_id IS NULL
      LEFT JOIN learned l ON l.organization_id = o.id
      LEFT JOIN LATERAL (
           SELECT array_agg(upstream_id ORDER BY upstream_id, model NULLS FIRST) AS upstreams,
                  array_agg(model ORDER BY upstream_id, model NULLS FIRST) AS models
             FROM disabled_models WHERE organization_id = o.id) d ON true
      LEFT JOIN LATERAL (
           SELECT array_agg(h.book_id ORDER BY h.place, h.valid_from) AS books,
                  array_agg(app.milliseconds(h.valid_from) ORDER BY h.place, h.valid_from) AS froms,
                  array_agg(app.milliseconds(h.valid_until) ORDER BY h.place, h.valid_from) AS untils
             FROM app.held_books(o.id) h
            WHERE h.valid_until IS NULL OR h.valid_until > now()) b ON true
     WHERE o.archived_at IS NULL
       AND ((o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests)
            IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer)
            OR d.upstreams IS NOT NULL OR b.books IS NOT NULL
            OR num_nonnulls(r.default_model, r.policy_id) > 0
            OR l.explore_per_mille > 0 OR l.worths <> '[]')
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;
