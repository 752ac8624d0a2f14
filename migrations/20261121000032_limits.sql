-- How much an organization, and a project of it, may call in all. Keys have theirs.

ALTER TABLE organizations
    ADD requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD tokens_per_minute   bigint  CHECK (tokens_per_minute > 0),
    ADD concurrent_requests integer CHECK (concurrent_requests > 0);
ALTER TABLE projects
    ADD requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD tokens_per_minute   bigint  CHECK (tokens_per_minute > 0),
    ADD concurrent_requests integer CHECK (concurrent_requests > 0);

-- Everybody's limits, of those that have any; all of them, or those that are named.
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests
      FROM organizations o
     WHERE o.archived_at IS NULL
       AND (o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests)
           IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer)
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;

CREATE FUNCTION app.snapshot_projects(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT p.id, p.organization_id, p.requests_per_minute, p.tokens_per_minute,
           p.concurrent_requests
      FROM projects p JOIN organizations o ON o.id = p.organization_id
     WHERE o.archived_at IS NULL AND p.archived_at IS NULL
       AND (p.requests_per_minute, p.tokens_per_minute, p.concurrent_requests)
           IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer)
       AND (ids IS NULL OR p.id = ANY (ids))
     ORDER BY p.id
$$;
ALTER FUNCTION app.snapshot_projects(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_projects(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_projects(uuid[]) TO turnpike_app;
