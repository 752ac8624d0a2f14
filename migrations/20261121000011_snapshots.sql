-- What the proxies run, gathered across tenants by the one function that may.

-- Changes with everything that a snapshot holds; the publisher compares it with the
-- revision it published last.
CREATE SEQUENCE app.snapshot_revision;
CREATE TABLE snapshot_state (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    wanted    bigint  NOT NULL
);
INSERT INTO snapshot_state VALUES (true, nextval('app.snapshot_revision'));
GRANT SELECT ON snapshot_state TO turnpike_app;

CREATE FUNCTION app.want_snapshot() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    UPDATE snapshot_state SET wanted = nextval('app.snapshot_revision');
    PERFORM pg_notify('snapshot', '');
    RETURN NULL;
END
$$;
ALTER FUNCTION app.want_snapshot() OWNER TO turnpike_jobs;
GRANT SELECT, UPDATE ON snapshot_state TO turnpike_jobs;
GRANT USAGE ON SEQUENCE app.snapshot_revision TO turnpike_jobs;

CREATE TRIGGER want_snapshot AFTER INSERT OR UPDATE OR DELETE ON api_key_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER INSERT OR DELETE OR UPDATE OF
    scopes, allowed_models, allowed_addresses, expires_at, revoked_at, owner_id, project_id
    ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER DELETE OR UPDATE OF role ON memberships
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER UPDATE OF archived_at ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER UPDATE OF archived_at ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER INSERT OR UPDATE OR DELETE ON provider_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();

CREATE TRIGGER want_snapshot AFTER UPDATE OF disabled_at ON people
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
GRANT SELECT (id, disabled_at) ON people TO turnpike_jobs;

-- Every key that opens something: not revoked, its project and organization live, and
-- its owner, where it has one, not disabled and still in a role that may use keys.
CREATE FUNCTION app.snapshot_keys()
    RETURNS TABLE (
        organization_id uuid, id uuid, project_id uuid, scopes text[], allowed_models text[],
        allowed_addresses cidr[], expires_at timestamptz,
        hashes bytea[], valid_untils timestamptz[]
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT k.organization_id, k.id, k.project_id, k.scopes, k.allowed_models,
           k.allowed_addresses, k.expires_at,
           array_agg(s.hash ORDER BY s.hash), array_agg(s.valid_until ORDER BY s.hash)
      FROM api_keys k
      JOIN projects p ON (p.organization_id, p.id) = (k.organization_id, k.project_id)
      JOIN organizations o ON o.id = k.organization_id
      JOIN api_key_secrets s ON (s.organization_id, s.key_id) = (k.organization_id, k.id)
     WHERE k.revoked_at IS NULL AND p.archived_at IS NULL AND o.archived_at IS NULL
       AND (k.owner_id IS NULL
            OR EXISTS (SELECT FROM memberships m JOIN people w ON w.id = m.person_id
                        WHERE (m.organization_id, m.person_id) = (k.organization_id, k.owner_id)
                          AND m.role IN ('owner', 'admin', 'developer')
                          AND w.disabled_at IS NULL))
     GROUP BY k.organization_id, k.id
$$;
ALTER FUNCTION app.snapshot_keys() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_keys() TO turnpike_app;

CREATE FUNCTION app.snapshot_upstreams()
    RETURNS SETOF provider_credentials
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.* FROM provider_credentials c
      LEFT JOIN organizations o ON o.id = c.organization_id
     WHERE o.archived_at IS NULL ORDER BY c.id
$$;
ALTER FUNCTION app.snapshot_upstreams() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_upstreams() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_upstreams() TO turnpike_app;
