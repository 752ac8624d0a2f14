-- Where models are served, in three tables: the place, its models, and the secrets that
-- open it. What is the platform's has no organization; `owner` says whose a row is either
-- way, for keys and row security. A transaction that acts in the nil organization acts
-- for the platform: only the operators' command line begins one.

CREATE TABLE upstreams (
    id              uuid        PRIMARY KEY,
    organization_id uuid        REFERENCES organizations,
    owner           uuid        NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    vendor          text        NOT NULL CHECK (vendor ~ '^[a-z0-9_-]{1,63}$'),
    name            text        NOT NULL,
    dialect         text        NOT NULL
                                CHECK (dialect IN ('open_ai', 'azure_open_ai', 'anthropic', 'gemini')),
    base_url        text        NOT NULL,
    region          text        CHECK (region ~ '^[a-z0-9-]{1,63}$'),
    enabled         boolean     NOT NULL DEFAULT true,
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT upstreams_owner UNIQUE (owner, id),
    CONSTRAINT upstreams_name  UNIQUE (owner, name)
);

CREATE TABLE upstream_models (
    organization_id   uuid    REFERENCES organizations,
    owner             uuid    NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    upstream_id       uuid    NOT NULL,
    -- What callers say, and what the upstream is told.
    name              text    NOT NULL,
    upstream_name     text    NOT NULL,
    display_name      text    NOT NULL,
    context_length    integer NOT NULL CHECK (context_length > 0),
    max_output_tokens integer NOT NULL CHECK (max_output_tokens >= 0),
    capabilities      text[]  NOT NULL,
    input             text[]  NOT NULL,
    output            text[]  NOT NULL,
    deprecated_on     date,
    successor         text,
    enabled           boolean NOT NULL DEFAULT true,
    position          integer NOT NULL,
    PRIMARY KEY (owner, upstream_id, name),
    FOREIGN KEY (owner, upstream_id) REFERENCES upstreams (owner, id) ON DELETE CASCADE
);

-- A credential and its upstream were one row. Forced row security would hide it from the
-- tables' owner, who runs this.
ALTER TABLE provider_credentials NO FORCE ROW LEVEL SECURITY;
INSERT INTO upstreams (id, organization_id, vendor, name, dialect, base_url, created_at)
SELECT id, organization_id, provider,
       CASE row_number() OVER same WHEN 1 THEN provider
            ELSE provider || ' ' || row_number() OVER same END,
       'open_ai', base_url, created_at
  FROM provider_credentials
WINDOW same AS (PARTITION BY organization_id, provider ORDER BY created_at, id);
INSERT INTO upstream_models (organization_id, upstream_id, name, upstream_name, display_name,
                             context_length, max_output_tokens, capabilities, input, output,
                             deprecated_on, successor, position)
SELECT DISTINCT ON (c.id, m.name)
       c.organization_id, c.id, m.name, m.upstream_name, coalesce(m.display_name, m.name),
       greatest(m.context_length, 1), greatest(m.max_output_tokens, 0),
       coalesce(m.capabilities, '{streaming}'), coalesce(m.input, '{text}'),
       coalesce(m.output, '{text}'), m.deprecated_on, m.successor, m.position
  FROM provider_credentials c
 CROSS JOIN ROWS FROM (jsonb_to_recordset(c.models) AS (
            name text, upstream_name text, display_name text, context_length integer,
            max_output_tokens integer, capabilities text[], input text[], output text[],
            deprecated_on date, successor text))
       WITH ORDINALITY AS m (name, upstream_name, display_name, context_length,
            max_output_tokens, capabilities, input, output, deprecated_on, successor, position);

DROP FUNCTION app.put_platform_upstream(uuid, text, text, bytea, jsonb);
DROP FUNCTION app.snapshot_upstreams();
DROP POLICY platform ON provider_credentials;
DROP POLICY within_organization ON provider_credentials;
REVOKE INSERT, UPDATE ON provider_credentials FROM turnpike_jobs;
ALTER TABLE provider_credentials
    ADD owner          uuid     NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    ADD upstream_id    uuid,
    ADD label          text     NOT NULL DEFAULT 'default',
    -- The end of the secret. Empty where the secret was kept before its end was.
    ADD hint           text     NOT NULL DEFAULT '' CHECK (length(hint) <= 4),
    ADD weight         smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0 AND 1000),
    ADD enabled        boolean  NOT NULL DEFAULT true,
    ADD last_tested_at timestamptz,
    ADD last_result    text     CHECK (last_result IN ('ok', 'key_refused', 'unreachable'));
UPDATE provider_credentials SET upstream_id = id;
ALTER TABLE provider_credentials
    DROP CONSTRAINT provider_credentials_place,
    DROP provider,
    DROP base_url,
    DROP models,
    ALTER upstream_id SET NOT NULL,
    ALTER label DROP DEFAULT,
    ADD CONSTRAINT provider_credentials_label UNIQUE (owner, upstream_id, label),
    ADD FOREIGN KEY (owner, upstream_id) REFERENCES upstreams (owner, id);

-- How often an organization tried a connection lately: at most some times a minute.
CREATE TABLE connection_trials (
    organization_id uuid        PRIMARY KEY REFERENCES organizations,
    since           timestamptz NOT NULL,
    made            integer     NOT NULL
);
CALL app.belongs_to_organization('connection_trials');

-- The rule of every tenant's table, for tables that hold the platform's rows too.
CREATE PROCEDURE app.belongs_to_owner(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'CREATE POLICY within_owner ON %s
            USING (owner = app.organization_id()) WITH CHECK (owner = app.organization_id())',
        name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO turnpike_app', name);
END
$$;
CALL app.belongs_to_owner('upstreams');
CALL app.belongs_to_owner('upstream_models');
CALL app.belongs_to_owner('provider_credentials');
-- The platform's are everybody's to see, and to call; its secrets are not.
CREATE POLICY platforms ON upstreams FOR SELECT USING (organization_id IS NULL);
CREATE POLICY platforms ON upstream_models FOR SELECT USING (organization_id IS NULL);
CREATE POLICY jobs ON upstreams FOR SELECT TO turnpike_jobs USING (true);
CREATE POLICY jobs ON upstream_models FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON upstreams, upstream_models TO turnpike_jobs;

-- As proxies read a model.
CREATE FUNCTION app.model_of(m upstream_models) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'name', m.name, 'upstream_name', m.upstream_name, 'display_name', m.display_name,
        'context_length', m.context_length, 'max_output_tokens', m.max_output_tokens,
        'capabilities', m.capabilities, 'input', m.input, 'output', m.output,
        'deprecated_on', m.deprecated_on, 'successor', m.successor)
$$;

-- Every upstream that can be called, or those of them that are named: enabled, with what
-- of its models and secrets is enabled, and not of an archived organization.
CREATE FUNCTION app.snapshot_upstreams(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, vendor text, dialect text, base_url text, region text,
        models jsonb, credentials uuid[], weights smallint[], sealed_secrets bytea[]
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT u.id, u.organization_id, u.vendor, u.dialect, u.base_url, u.region,
           coalesce((SELECT jsonb_agg(app.model_of(m) ORDER BY m.position, m.name)
                       FROM upstream_models m
                      WHERE (m.owner, m.upstream_id) = (u.owner, u.id) AND m.enabled), '[]'),
           array_agg(c.id ORDER BY c.id), array_agg(c.weight ORDER BY c.id),
           array_agg(c.sealed_secret ORDER BY c.id)
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
