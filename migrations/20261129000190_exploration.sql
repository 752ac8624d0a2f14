-- The share of an organization's calls that goes to one drawn by chance, so that what the others
-- cost is measured, and what that is compared with.

ALTER TABLE learned
    -- Of so many calls in a thousand.
    ADD COLUMN explore_per_mille smallint NOT NULL DEFAULT 0
        CHECK (explore_per_mille BETWEEN 0 AND 100),
    -- A model, as callers call it; the best of those that there are where none is named.
    ADD COLUMN baseline text CHECK (length(baseline) BETWEEN 1 AND 128);

CREATE TRIGGER note_exploration_begun AFTER INSERT ON learned
    FOR EACH ROW WHEN (NEW.explore_per_mille > 0)
    EXECUTE FUNCTION app.note_change('organization', 'organization_id');
CREATE TRIGGER note_exploration AFTER UPDATE ON learned
    FOR EACH ROW WHEN (OLD.explore_per_mille <> NEW.explore_per_mille)
    EXECUTE FUNCTION app.note_change('organization', 'organization_id');

DROP FUNCTION app.snapshot_organizations(uuid[]);
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, disabled_upstreams uuid[], disabled_models text[],
        books uuid[], books_from bigint[], books_until bigint[], default_model text,
        policy_id uuid, explore_per_mille smallint
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
           coalesce(d.upstreams, '{}'), coalesce(d.models, '{}'),
           coalesce(b.books, '{}'), coalesce(b.froms, '{}'), coalesce(b.untils, '{}'),
           r.default_model, r.policy_id, coalesce(l.explore_per_mille, 0::smallint)
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
            OR l.explore_per_mille > 0)
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;
