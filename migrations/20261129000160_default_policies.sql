-- What calls get that name no model, and which policy all of them have to keep to: of an
-- organization, of a project or of a key. A row that says nothing any more stays.

CREATE TABLE routing_defaults (
    organization_id uuid NOT NULL REFERENCES organizations,
    -- Of the organization where neither is named.
    project_id      uuid,
    key_id          uuid,
    -- A model's or a policy's, as callers say it.
    default_model   text CHECK (length(default_model) BETWEEN 1 AND 128),
    -- The organization's own or the platform's: no key can refer to both.
    policy_id       uuid,
    CHECK (num_nonnulls(project_id, key_id) <= 1),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects,
    FOREIGN KEY (organization_id, key_id) REFERENCES api_keys ON DELETE CASCADE,
    CONSTRAINT routing_defaults_once
        UNIQUE NULLS NOT DISTINCT (organization_id, project_id, key_id)
);
CALL app.belongs_to_organization('routing_defaults');
CREATE POLICY jobs ON routing_defaults FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON routing_defaults TO turnpike_jobs;
CREATE INDEX routing_defaults_keys ON routing_defaults (key_id) WHERE key_id IS NOT NULL;

CREATE TRIGGER note_change_of_organization AFTER INSERT OR UPDATE ON routing_defaults
    FOR EACH ROW WHEN (NEW.project_id IS NULL AND NEW.key_id IS NULL)
    EXECUTE FUNCTION app.note_change('organization', 'organization_id');
CREATE TRIGGER note_change_of_project AFTER INSERT OR UPDATE ON routing_defaults
    FOR EACH ROW WHEN (NEW.project_id IS NOT NULL)
    EXECUTE FUNCTION app.note_change('project', 'project_id');
CREATE TRIGGER note_change_of_key AFTER INSERT OR UPDATE ON routing_defaults
    FOR EACH ROW WHEN (NEW.key_id IS NOT NULL)
    EXECUTE FUNCTION app.note_change('key', 'key_id');

DROP FUNCTION app.snapshot_organizations(uuid[]);
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, disabled_upstreams uuid[], disabled_models text[],
        books uuid[], books_from bigint[], books_until bigint[], default_model text,
        policy_id uuid
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
           coalesce(d.upstreams, '{}'), coalesce(d.models, '{}'),
           coalesce(b.books, '{}'), coalesce(b.froms, '{}'), coalesce(b.untils, '{}'),
           r.default_model, r.policy_id
      FROM organizations o
      LEFT JOIN routing_defaults r
             ON r.organization_id = o.id AND r.project_id IS NULL AND r.key_id IS NULL
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
            OR num_nonnulls(r.default_model, r.policy_id) > 0)
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;

DROP FUNCTION app.snapshot_projects(uuid[]);
CREATE FUNCTION app.snapshot_projects(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, team_id uuid, default_model text, policy_id uuid
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT p.id, p.organization_id, p.requests_per_minute, p.tokens_per_minute,
           p.concurrent_requests, p.team_id, r.default_model, r.policy_id
      FROM projects p JOIN organizations o ON o.id = p.organization_id
      LEFT JOIN routing_defaults r
             ON (r.organization_id, r.project_id) = (p.organization_id, p.id)
     WHERE o.archived_at IS NULL AND p.archived_at IS NULL
       AND ((p.requests_per_minute, p.tokens_per_minute, p.concurrent_requests, p.team_id)
            IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer, NULL::uuid)
            OR num_nonnulls(r.default_model, r.policy_id) > 0
            OR EXISTS (SELECT FROM project_splits s
                        WHERE (s.organization_id, s.project_id) = (p.organization_id, p.id)))
       AND (ids IS NULL OR p.id = ANY (ids))
     ORDER BY p.id
$$;
ALTER FUNCTION app.snapshot_projects(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_projects(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_projects(uuid[]) TO turnpike_app;

-- Of the keys that say any: all of them, or those that are named.
CREATE FUNCTION app.snapshot_key_defaults(ids uuid[])
    RETURNS TABLE (key_id uuid, default_model text, policy_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT r.key_id, r.default_model, r.policy_id
      FROM routing_defaults r
     WHERE r.key_id IS NOT NULL AND num_nonnulls(r.default_model, r.policy_id) > 0
       AND (ids IS NULL OR r.key_id = ANY (ids))
$$;
ALTER FUNCTION app.snapshot_key_defaults(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_key_defaults(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_key_defaults(uuid[]) TO turnpike_app;

-- How many organizations go by one of the platform's policies: by it, or by its name where they
-- have none of that name themselves.
CREATE FUNCTION app.organizations_going_by(policy uuid, called text)
    RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT count(DISTINCT r.organization_id)
      FROM routing_defaults r
     WHERE r.policy_id = policy
        OR r.default_model = called
           AND NOT EXISTS (SELECT FROM policies p
                            WHERE p.organization_id = r.organization_id AND p.name = called
                              AND p.archived_at IS NULL)
$$;
ALTER FUNCTION app.organizations_going_by(uuid, text) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.organizations_going_by(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.organizations_going_by(uuid, text) TO turnpike_app;
