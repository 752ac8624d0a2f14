-- How a change gets to the proxies: noted in the transaction that makes it, then
-- published as a revision, each of which seals the one before.
--
-- Whatever a snapshot is made of notes its changes by the one trigger function here:
--
--     CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON upstream_models
--         FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'upstream_id');
--
-- which says: the upstream that `upstream_id` names may be another now. The publisher
-- reads its present content, so noting too much costs a query and noting too little
-- costs minutes, until it next compares everything. UPDATE OF narrows it to the columns
-- that a snapshot holds. The entities are
--
--     upstream, policy, project, key    the record with this id;
--     organization                      its record, and everything that is its own;
--     project                           its keys too;
--     person                            every key that they own.

DROP TRIGGER want_snapshot ON api_key_secrets;
DROP TRIGGER want_snapshot ON api_keys;
DROP TRIGGER want_snapshot ON memberships;
DROP TRIGGER want_snapshot ON projects;
DROP TRIGGER want_snapshot ON organizations;
DROP TRIGGER want_snapshot ON provider_credentials;
DROP TRIGGER want_snapshot ON people;
DROP FUNCTION app.want_snapshot();
DROP TABLE snapshot_state;
DROP SEQUENCE app.snapshot_revision;

-- What may have changed and is not published yet. A row is there once its transaction
-- has committed, however long that took, and goes in the transaction that publishes it:
-- nothing is skipped, whatever the order.
CREATE TABLE config_outbox (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text   NOT NULL
                  CHECK (entity IN ('upstream', 'policy', 'project', 'key', 'organization', 'person')),
    record uuid   NOT NULL
);
GRANT SELECT, DELETE ON config_outbox TO turnpike_app;
GRANT INSERT ON config_outbox TO turnpike_jobs;

CREATE FUNCTION app.note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) ->> TG_ARGV[1] END;
    after  text := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) ->> TG_ARGV[1] END;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD IS NOT DISTINCT FROM NEW THEN
        RETURN NULL;
    END IF;
    INSERT INTO config_outbox (entity, record)
    SELECT TG_ARGV[0], changed::uuid
      FROM (SELECT before UNION SELECT after) AS named (changed)
     WHERE changed IS NOT NULL;
    RETURN NULL;
END
$$;
ALTER FUNCTION app.note_change() OWNER TO turnpike_jobs;

CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON api_key_secrets
    FOR EACH ROW EXECUTE FUNCTION app.note_change('key', 'key_id');
CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF
    scopes, allowed_models, allowed_addresses, expires_at, revoked_at, owner_id, project_id,
    requests_per_minute, tokens_per_minute, concurrent_requests
    ON api_keys FOR EACH ROW EXECUTE FUNCTION app.note_change('key', 'id');
CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF role ON memberships
    FOR EACH ROW EXECUTE FUNCTION app.note_change('person', 'person_id');
CREATE TRIGGER note_change AFTER UPDATE OF disabled_at ON people
    FOR EACH ROW EXECUTE FUNCTION app.note_change('person', 'id');
CREATE TRIGGER note_change AFTER DELETE OR UPDATE OF archived_at ON projects
    FOR EACH ROW EXECUTE FUNCTION app.note_change('project', 'id');
CREATE TRIGGER note_change AFTER DELETE OR UPDATE OF archived_at ON organizations
    FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'id');

-- To find the keys of a person, and a key by its id alone.
CREATE INDEX api_keys_owner ON api_keys (owner_id);
CREATE INDEX api_keys_id ON api_keys (id);

-- The chain. A revision that was published is never changed.
CREATE TABLE config_revisions (
    revision     bigint      PRIMARY KEY CHECK (revision > 0),
    -- The text that is signed. It names the digest of the revision before, the sum of
    -- all records after it, and the digest of the body.
    head         text        NOT NULL,
    digest       bytea       NOT NULL UNIQUE CHECK (length(digest) = 32),
    signature    bytea       NOT NULL,
    body         bytea       NOT NULL,
    sum          bytea       NOT NULL CHECK (length(sum) = 16),
    records      integer     NOT NULL,
    cause        text        NOT NULL CHECK (cause IN ('changes', 'comparison', 'republished')),
    published_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON config_revisions TO turnpike_app;

-- What the newest revision amounts to: everything that proxies hold. Whoever publishes
-- holds this table's lock, so there is one at a time, of however many control planes.
CREATE TABLE config_records (
    entity  text  NOT NULL,
    id      uuid  NOT NULL,
    content text  NOT NULL,
    PRIMARY KEY (entity, id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON config_records TO turnpike_app;

-- Every key that opens something: not revoked, its project and organization live, and
-- its owner, where it has one, not disabled and still in a role that may use keys.
CREATE VIEW app.open_keys AS
    SELECT k.organization_id, k.id, k.project_id, k.scopes, k.allowed_models,
           k.allowed_addresses, k.expires_at, k.requests_per_minute, k.tokens_per_minute,
           k.concurrent_requests,
           array_agg(s.hash ORDER BY s.hash) AS hashes,
           array_agg(s.valid_until ORDER BY s.hash) AS valid_untils
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
     GROUP BY k.organization_id, k.id;
ALTER VIEW app.open_keys OWNER TO turnpike_jobs;

-- All of them, or those that are wanted: two statements, so that each has its own plan
-- and a few keys are found without looking at all.
DROP FUNCTION app.snapshot_keys();
CREATE FUNCTION app.snapshot_keys(wanted uuid[])
    RETURNS TABLE (
        organization_id uuid, id uuid, project_id uuid, scopes text[], allowed_models text[],
        allowed_addresses cidr[], expires_at timestamptz, requests_per_minute integer,
        tokens_per_minute bigint, concurrent_requests integer,
        hashes bytea[], valid_untils timestamptz[]
    )
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF wanted IS NULL THEN
        RETURN QUERY SELECT * FROM app.open_keys;
    ELSE
        RETURN QUERY SELECT * FROM app.open_keys k WHERE k.id = ANY (wanted);
    END IF;
END
$$;
ALTER FUNCTION app.snapshot_keys(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_keys(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_keys(uuid[]) TO turnpike_app;
