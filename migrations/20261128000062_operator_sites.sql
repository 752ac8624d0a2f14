-- What the platform's staff are told of the sites that proxies leave alone. Of an
-- organization's own: whose it is and which vendor's, and nothing that people there wrote.

CREATE FUNCTION app.operator_sites(credentials uuid[])
    RETURNS TABLE (
        credential uuid, provider text, region text, label text, organization text
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.id, CASE WHEN c.organization_id IS NULL THEN u.name ELSE u.vendor END, u.region,
           CASE WHEN c.organization_id IS NULL THEN c.label END, o.name
      FROM provider_credentials c
      JOIN upstreams u ON (u.owner, u.id) = (c.owner, c.upstream_id)
      LEFT JOIN organizations o ON o.id = c.organization_id
     WHERE c.id = ANY (credentials)
     ORDER BY o.name NULLS FIRST, u.name, c.label
     LIMIT 1000
$$;
ALTER FUNCTION app.operator_sites(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.operator_sites(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.operator_sites(uuid[]) TO turnpike_app;
