-- Names that lead to models, and every version that each of them had.

CREATE TABLE policies (
    id              uuid        PRIMARY KEY,
    organization_id uuid        REFERENCES organizations,
    owner           uuid        NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    name            text        NOT NULL,
    version         integer     NOT NULL CHECK (version > 0),
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT policies_owner UNIQUE (owner, id)
);
-- The name of an archived one is free.
CREATE UNIQUE INDEX policies_name ON policies (owner, name) WHERE archived_at IS NULL;

CREATE TABLE policy_versions (
    organization_id uuid        REFERENCES organizations,
    owner           uuid        NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    policy_id       uuid        NOT NULL,
    version         integer     NOT NULL CHECK (version > 0),
    name            text        NOT NULL,
    tiers           jsonb       NOT NULL,
    note            text        NOT NULL,
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, policy_id, version),
    FOREIGN KEY (owner, policy_id) REFERENCES policies (owner, id)
);

CALL app.belongs_to_owner('policies');
CALL app.belongs_to_owner('policy_versions');
-- What was, stays.
REVOKE UPDATE, DELETE ON policy_versions FROM turnpike_app;
CREATE POLICY platforms ON policies FOR SELECT USING (organization_id IS NULL);
CREATE POLICY platforms ON policy_versions FOR SELECT USING (organization_id IS NULL);
CREATE POLICY jobs ON policies FOR SELECT TO turnpike_jobs USING (true);
CREATE POLICY jobs ON policy_versions FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON policies, policy_versions TO turnpike_jobs;

-- Every policy that leads somewhere, or those of them that are named.
CREATE FUNCTION app.snapshot_policies(ids uuid[])
    RETURNS TABLE (id uuid, organization_id uuid, name text, version integer, tiers jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT p.id, p.organization_id, p.name, p.version, v.tiers
      FROM policies p
      JOIN policy_versions v ON (v.owner, v.policy_id, v.version) = (p.owner, p.id, p.version)
      LEFT JOIN organizations o ON o.id = p.organization_id
     WHERE p.archived_at IS NULL AND o.archived_at IS NULL
       AND (ids IS NULL OR p.id = ANY (ids))
     ORDER BY p.id
$$;
ALTER FUNCTION app.snapshot_policies(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_policies(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_policies(uuid[]) TO turnpike_app;
