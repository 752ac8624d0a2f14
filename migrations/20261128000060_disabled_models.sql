-- What an organization does not want of the platform's: a model, or all that a provider
-- serves. Its own it disables where they stand.

CREATE TABLE disabled_models (
    organization_id uuid        NOT NULL REFERENCES organizations,
    upstream_id     uuid        NOT NULL REFERENCES upstreams (id),
    -- Every model where none is named. It may be one that is not served at present: what
    -- comes back is still not wanted.
    model           text,
    disabled_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT disabled_models_once UNIQUE NULLS NOT DISTINCT (organization_id, upstream_id, model)
);
CALL app.belongs_to_organization('disabled_models');
CREATE POLICY jobs ON disabled_models FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON disabled_models TO turnpike_jobs;

CREATE TRIGGER note_change AFTER INSERT OR DELETE ON disabled_models
    FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'organization_id');

-- What holds for all of an organization, of those for which anything does; all of them, or
-- those that are named.
DROP FUNCTION app.snapshot_organizations(uuid[]);
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, disabled_upstreams uuid[], disabled_models text[]
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
           coalesce(d.upstreams, '{}'), coalesce(d.models, '{}')
      FROM organizations o
      LEFT JOIN LATERAL (
           SELECT array_agg(upstream_id ORDER BY upstream_id, model NULLS FIRST) AS upstreams,
                  array_agg(model ORDER BY upstream_id, model NULLS FIRST) AS models
             FROM disabled_models WHERE organization_id = o.id) d ON true
     WHERE o.archived_at IS NULL
       AND ((o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests)
            IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer)
            OR d.upstreams IS NOT NULL)
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;
