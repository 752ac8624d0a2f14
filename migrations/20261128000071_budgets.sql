-- Budgets: how much a scope may spend in each window of a period. What is spent of them is
-- counted in Redis; here is what people decided.

CREATE TABLE budgets (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    scope           text        NOT NULL
                    CHECK (scope IN ('organization', 'team', 'project', 'key', 'cost_center')),
    -- Of which team, project, key or cost center.
    scope_id        uuid        CHECK ((scope_id IS NULL) = (scope = 'organization')),
    period          text        NOT NULL CHECK (period IN ('day', 'week', 'month', 'total')),
    time_zone       text        NOT NULL,
    -- Money is nano-dollars. What has no cap is not capped; one at least has.
    cap_money       bigint      CHECK (cap_money BETWEEN 0 AND 9000000000000000),
    cap_requests    bigint      CHECK (cap_requests BETWEEN 0 AND 9000000000000000),
    cap_tokens      bigint      CHECK (cap_tokens BETWEEN 0 AND 9000000000000000),
    -- Other caps until a moment.
    raised_money    bigint      CHECK (raised_money BETWEEN 0 AND 9000000000000000),
    raised_requests bigint      CHECK (raised_requests BETWEEN 0 AND 9000000000000000),
    raised_tokens   bigint      CHECK (raised_tokens BETWEEN 0 AND 9000000000000000),
    raised_until    timestamptz,
    raised_reason   text,
    raised_by       uuid        REFERENCES people,
    is_hard         boolean     NOT NULL,
    thresholds      smallint[]  NOT NULL CHECK (cardinality(thresholds) <= 8),
    on_tight        text        NOT NULL CHECK (on_tight IN ('deny', 'clamp')),
    -- In nano-dollars, what may pass uncounted while nobody can count. Nothing may where it
    -- is not said.
    allowance       bigint      CHECK (allowance BETWEEN 0 AND 9000000000000000),
    -- Who is told when a threshold is passed.
    alert_roles     text[]      NOT NULL,
    -- Grows with every change.
    version         bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    -- When a letter was sent for a try.
    tested_at       timestamptz,
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT budgets_id UNIQUE (id),
    CONSTRAINT budgets_cap CHECK (num_nonnulls(cap_money, cap_requests, cap_tokens) > 0)
);
-- The name of an archived one is free.
CREATE UNIQUE INDEX budgets_name ON budgets (organization_id, name) WHERE archived_at IS NULL;
CREATE INDEX budgets_scope ON budgets (organization_id, scope, scope_id);
CALL app.belongs_to_organization('budgets');
REVOKE DELETE ON budgets FROM turnpike_app;
CREATE POLICY jobs ON budgets FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON budgets TO turnpike_jobs;

-- Every change of a budget, as it was told.
CREATE TABLE budget_versions (
    organization_id uuid        NOT NULL,
    budget_id       uuid        NOT NULL,
    version         bigint      NOT NULL,
    -- What was done, like `raised`, and what came of it.
    change          text        NOT NULL,
    terms           jsonb       NOT NULL,
    note            text        NOT NULL,
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, budget_id, version),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets
);
CALL app.belongs_to_organization('budget_versions');
-- What was, stays.
REVOKE UPDATE, DELETE ON budget_versions FROM turnpike_app;

-- As proxies are given them: those that are in force, of organizations that are.
CREATE FUNCTION app.snapshot_budgets(ids uuid[]) RETURNS SETOF budgets
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT b.* FROM budgets b JOIN organizations o ON o.id = b.organization_id
     WHERE b.archived_at IS NULL AND o.archived_at IS NULL AND (ids IS NULL OR b.id = ANY (ids))
     ORDER BY b.id
$$;
ALTER FUNCTION app.snapshot_budgets(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_budgets(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_budgets(uuid[]) TO turnpike_app;

ALTER TABLE config_outbox
    DROP CONSTRAINT config_outbox_entity_check,
    ADD CONSTRAINT config_outbox_entity_check CHECK (entity IN (
        'upstream', 'policy', 'project', 'key', 'organization', 'person', 'budget'));
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OF version ON budgets
    FOR EACH ROW EXECUTE FUNCTION app.note_change('budget', 'id');

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
$$;
