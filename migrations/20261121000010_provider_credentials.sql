-- Where models are served, and the secrets that open them. Platform-owned rows have no
-- organization.
CREATE TABLE provider_credentials (
    id              uuid        PRIMARY KEY,
    organization_id uuid        REFERENCES organizations,
    provider        text        NOT NULL CHECK (provider ~ '^[a-z0-9-]{1,63}$'),
    base_url        text        NOT NULL,
    -- Sealed for this id, this organization and this address, and useless elsewhere.
    sealed_secret   bytea       NOT NULL,
    models          jsonb       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT provider_credentials_place
        UNIQUE NULLS NOT DISTINCT (organization_id, provider, base_url)
);
ALTER TABLE provider_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY within_organization ON provider_credentials
    USING (organization_id = app.organization_id())
    WITH CHECK (organization_id = app.organization_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_credentials TO turnpike_app;
CREATE POLICY jobs ON provider_credentials FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON provider_credentials TO turnpike_jobs;

-- What is the platform's is everybody's to call and no organization's to change: the one
-- way to put such a row is this function, which the operators' command line calls.
CREATE POLICY platform ON provider_credentials TO turnpike_jobs
    USING (organization_id IS NULL) WITH CHECK (organization_id IS NULL);
GRANT INSERT, UPDATE ON provider_credentials TO turnpike_jobs;
CREATE FUNCTION app.put_platform_upstream(
    id uuid, provider text, base_url text, sealed_secret bytea, models jsonb
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    INSERT INTO provider_credentials (id, provider, base_url, sealed_secret, models)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (id) DO UPDATE
       SET sealed_secret = excluded.sealed_secret, models = excluded.models
$$;
ALTER FUNCTION app.put_platform_upstream(uuid, text, text, bytea, jsonb) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.put_platform_upstream(uuid, text, text, bytea, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.put_platform_upstream(uuid, text, text, bytea, jsonb)
    TO turnpike_app;
