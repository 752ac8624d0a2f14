-- What the platform's own staff see across tenants: names and sizes, nothing inside.
GRANT SELECT (id, email, is_operator) ON people TO turnpike_jobs;

CREATE FUNCTION app.operator_organizations(pattern text, after_name text, after_id uuid, most integer)
    RETURNS TABLE (
        id uuid, slug text, name text, created_at timestamptz, archived_at timestamptz,
        members bigint, projects bigint, live_keys bigint
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.slug, o.name, o.created_at, o.archived_at,
           (SELECT count(*) FROM memberships m WHERE m.organization_id = o.id),
           (SELECT count(*) FROM projects p
             WHERE p.organization_id = o.id AND p.archived_at IS NULL),
           (SELECT count(*) FROM api_keys k
             WHERE k.organization_id = o.id AND k.revoked_at IS NULL)
      FROM organizations o
     WHERE (pattern = '' OR o.name ILIKE pattern OR o.slug ILIKE pattern)
       AND (after_name IS NULL OR (lower(o.name), o.id) > (lower(after_name), after_id))
     ORDER BY lower(o.name), o.id
     LIMIT least(most, 200)
$$;
ALTER FUNCTION app.operator_organizations(text, text, uuid, integer) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.operator_organizations(text, text, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.operator_organizations(text, text, uuid, integer) TO turnpike_app;
CREATE INDEX organizations_by_name ON organizations (lower(name), id);
