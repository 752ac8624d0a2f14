-- Keys of the data plane.
CREATE TABLE api_keys (
    organization_id     uuid        NOT NULL REFERENCES organizations,
    id                  uuid        NOT NULL,
    project_id          uuid        NOT NULL,
    name                text        NOT NULL,
    brand               text        NOT NULL CHECK (brand IN ('live', 'test')),
    -- Whose key it is; nobody's when it belongs to a service. A person's key works
    -- only as long as their role may use keys.
    owner_id            uuid,
    created_by          uuid        REFERENCES people,
    scopes              text[]      NOT NULL CHECK (cardinality(scopes) > 0),
    -- Every model when null.
    allowed_models      text[],
    -- Every address when empty.
    allowed_addresses   cidr[]      NOT NULL DEFAULT '{}',
    tags                jsonb       NOT NULL DEFAULT '{}',
    requests_per_minute integer     CHECK (requests_per_minute > 0),
    tokens_per_minute   bigint      CHECK (tokens_per_minute > 0),
    concurrent_requests integer     CHECK (concurrent_requests > 0),
    expires_at          timestamptz,
    revoked_at          timestamptz,
    revoked_by          uuid        REFERENCES people,
    last_used_at        timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects
);
CREATE INDEX api_keys_project ON api_keys (organization_id, project_id);
CALL app.belongs_to_organization('api_keys');
CREATE POLICY jobs ON api_keys TO turnpike_jobs USING (true);
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO turnpike_jobs;

-- Notes when keys were last used, as proxies say it, each of the keys wherever it is.
CREATE FUNCTION app.keys_used(ids uuid[], ats timestamptz[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, u.at)
      FROM unnest(ids, ats) AS u (id, at)
     WHERE k.id = u.id
$$;
ALTER FUNCTION app.keys_used(uuid[], timestamptz[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.keys_used(uuid[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.keys_used(uuid[], timestamptz[]) TO turnpike_app;

-- A key's secrets: the present one, and after a rotation for a while the one before.
CREATE TABLE api_key_secrets (
    organization_id uuid        NOT NULL,
    key_id          uuid        NOT NULL,
    hash            bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),
    hint            text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    valid_until     timestamptz,
    PRIMARY KEY (organization_id, key_id, hash),
    FOREIGN KEY (organization_id, key_id) REFERENCES api_keys ON DELETE CASCADE
);
CALL app.belongs_to_organization('api_key_secrets');
CREATE POLICY jobs ON api_key_secrets FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON api_key_secrets TO turnpike_jobs;
