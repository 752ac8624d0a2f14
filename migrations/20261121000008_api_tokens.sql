-- Tokens of the management API, of people and of services.
CREATE TABLE api_tokens (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    -- Nobody when it is a service's.
    person_id       uuid,
    -- At most this. A person's token never does more than the person's role now allows.
    role            text        NOT NULL
                                CHECK (role IN ('owner', 'admin', 'billing', 'developer', 'viewer')),
    hash            bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),
    hint            text        NOT NULL,
    created_by      uuid        NOT NULL REFERENCES people,
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    last_used_at    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, person_id) REFERENCES memberships ON DELETE CASCADE
);
CALL app.belongs_to_organization('api_tokens');
CREATE POLICY jobs ON api_tokens FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON api_tokens TO turnpike_jobs;

-- Which organization a token belongs to, for whoever holds the token.
CREATE FUNCTION app.token_by_hash(presented bytea)
    RETURNS TABLE (organization_id uuid, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT organization_id, id FROM api_tokens WHERE hash = presented
$$;
ALTER FUNCTION app.token_by_hash(bytea) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.token_by_hash(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.token_by_hash(bytea) TO turnpike_app;
