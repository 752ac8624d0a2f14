-- How long the answers of an upstream may take, where that is not what every proxy was
-- configured with.

ALTER TABLE upstreams
    ADD COLUMN first_byte_seconds integer CHECK (first_byte_seconds BETWEEN 1 AND 86400),
    ADD COLUMN idle_seconds       integer CHECK (idle_seconds BETWEEN 1 AND 86400),
    ADD COLUMN total_seconds      integer CHECK (total_seconds BETWEEN 1 AND 86400);

DROP FUNCTION app.snapshot_upstreams(uuid[]);
CREATE FUNCTION app.snapshot_upstreams(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, vendor text, dialect text, base_url text, region text,
        models jsonb, credentials uuid[], weights smallint[], sealed_secrets bytea[],
        first_byte_seconds integer, idle_seconds integer, total_seconds integer
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT u.id, u.organization_id, u.vendor, u.dialect, u.base_url, u.region,
           coalesce((SELECT jsonb_agg(app.model_of(m) ORDER BY m.position, m.name)
                       FROM upstream_models m
                      WHERE (m.owner, m.upstream_id) = (u.owner, u.id) AND m.enabled), '[]'),
           array_agg(c.id ORDER BY c.id), array_agg(c.weight ORDER BY c.id),
           array_agg(c.sealed_secret ORDER BY c.id),
           u.first_byte_seconds, u.idle_seconds, u.total_seconds
      FROM upstreams u
      LEFT JOIN organizations o ON o.id = u.organization_id
      JOIN provider_credentials c ON (c.owner, c.upstream_id) = (u.owner, u.id) AND c.enabled
     WHERE u.enabled AND u.archived_at IS NULL AND o.archived_at IS NULL
       AND (ids IS NULL OR u.id = ANY (ids))
     GROUP BY u.id
     ORDER BY u.id
$$;
ALTER FUNCTION app.snapshot_upstreams(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_upstreams(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_upstreams(uuid[]) TO turnpike_app;
