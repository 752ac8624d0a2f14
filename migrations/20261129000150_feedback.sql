-- What people and programs say of answers, and what is learned from it.

CREATE SEQUENCE feedback_arrivals;

-- Of an organization the newest are kept: as many as anything is learned from. No word of a
-- prompt is here.
CREATE TABLE feedback (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    project_id      uuid        NOT NULL,
    -- None where it is about a prompt that was sent along.
    request_id      uuid,
    -- Whose answer it was, as callers say.
    model           text        NOT NULL,
    -- What the prompt was for and what it is like, as the router keeps it. Where nobody had to
    -- know, nothing is learned.
    task            text,
    features        bytea       CHECK (length(features) <= 1300),
    per_mille       smallint    NOT NULL CHECK (per_mille BETWEEN 0 AND 1000),
    source          text        NOT NULL CHECK (source IN ('api', 'page')),
    -- A key, a person or a token.
    said_by         uuid        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    arrival         bigint      NOT NULL DEFAULT nextval('feedback_arrivals'),
    PRIMARY KEY (organization_id, id)
);
-- Whoever changes their mind has said one thing.
CREATE UNIQUE INDEX feedback_once
    ON feedback (organization_id, request_id, model, source, said_by)
    WHERE request_id IS NOT NULL;
CREATE INDEX feedback_arrival ON feedback (organization_id, arrival);
CALL app.belongs_to_organization('feedback');
GRANT USAGE ON SEQUENCE feedback_arrivals TO turnpike_app;

-- What an organization's feedback taught. It has a row from its first feedback on, or from when it
-- said that it does not want that.
CREATE TABLE learned (
    organization_id uuid        PRIMARY KEY REFERENCES organizations,
    is_on           boolean     NOT NULL DEFAULT true,
    -- How much was said since.
    fresh           integer     NOT NULL DEFAULT 0,
    -- A digest of the tables, and how many outcomes they are from.
    version         text,
    tables          bytea       CHECK (length(tables) <= 131072),
    labels          integer     NOT NULL DEFAULT 0,
    learned_at      timestamptz,
    CONSTRAINT learned_whole CHECK ((version IS NULL) = (tables IS NULL))
);
CREATE INDEX learned_due ON learned (organization_id) WHERE fresh > 0;
CALL app.belongs_to_organization('learned');
CREATE POLICY jobs ON learned FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON learned TO turnpike_jobs;

-- Who is to learn: of whom nothing was learned yet, or who has a twentieth more to learn from, or
-- something and has waited for five minutes. So what proxies are sent stays in proportion.
CREATE FUNCTION app.learning_due() RETURNS TABLE (organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT l.organization_id FROM learned l
      JOIN organizations o ON o.id = l.organization_id
     WHERE l.is_on AND l.fresh > 0 AND o.archived_at IS NULL
       AND (l.learned_at IS NULL OR l.fresh >= l.labels / 20
            OR l.learned_at < now() - interval '5 minutes')
     ORDER BY l.learned_at NULLS FIRST
     LIMIT 100
$$;

-- What was learned of everybody who wants it, or of those that are named.
CREATE FUNCTION app.snapshot_learned(ids uuid[])
    RETURNS TABLE (organization_id uuid, version text, tables bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT l.organization_id, l.version, l.tables FROM learned l
      JOIN organizations o ON o.id = l.organization_id
     WHERE l.is_on AND l.tables IS NOT NULL AND o.archived_at IS NULL
       AND (ids IS NULL OR l.organization_id = ANY (ids))
     ORDER BY l.organization_id
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.learning_due()', 'app.snapshot_learned(uuid[])']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;

ALTER TABLE config_outbox
    DROP CONSTRAINT config_outbox_entity_check,
    ADD CONSTRAINT config_outbox_entity_check CHECK (entity IN (
        'upstream', 'policy', 'project', 'key', 'organization', 'person', 'budget', 'price_book',
        'learned'));
CREATE TRIGGER note_change AFTER DELETE OR UPDATE OF is_on, version, tables
    ON learned FOR EACH ROW EXECUTE FUNCTION app.note_change('learned', 'organization_id');

CREATE OR REPLACE FUNCTION app.snapshot_touched() RETURNS TABLE (entity text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH noted AS (SELECT DISTINCT entity, record FROM config_outbox)
    SELECT entity, record FROM noted WHERE entity <> 'person'
    UNION
    SELECT 'key', k.id FROM noted n JOIN api_keys k ON k.owner_id = n.record
     WHERE n.entity = 'person'
    UNION
    SELECT 'key', k.id FROM noted n JOIN projects p ON p.id = n.record
      JOIN api_keys k ON (k.organization_id, k.project_id) = (p.organization_id, p.id)
     WHERE n.entity = 'project'
    UNION
    SELECT 'key', k.id FROM noted n JOIN api_keys k ON k.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'project', p.id FROM noted n JOIN projects p ON p.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'upstream', u.id FROM noted n JOIN upstreams u ON u.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'policy', p.id FROM noted n JOIN policies p ON p.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'budget', b.id FROM noted n JOIN budgets b ON b.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'learned', l.organization_id FROM noted n JOIN learned l ON l.organization_id = n.record
     WHERE n.entity = 'organization'
$$;
