-- Who is told when budgets pass their thresholds, and that they were.

-- Each threshold that a window of a budget passed, once.
CREATE TABLE budget_alerts (
    organization_id uuid        NOT NULL,
    budget_id       uuid        NOT NULL,
    -- When the window began, in milliseconds since 1970.
    "window"        bigint      NOT NULL,
    percent         smallint    NOT NULL,
    -- Of money, in nano-dollars, when it was passed.
    spent           bigint      NOT NULL,
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, budget_id, "window", percent),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets
);
CREATE INDEX budget_alerts_latest ON budget_alerts (organization_id, at DESC);
CALL app.belongs_to_organization('budget_alerts');
-- What was, stays.
REVOKE UPDATE, DELETE ON budget_alerts FROM turnpike_app;

-- Addresses that are told: of one budget's alerts, or of all.
CREATE TABLE webhooks (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    url             text        NOT NULL CHECK (length(url) <= 500),
    budget_id       uuid,
    sealed_secret   bytea       NOT NULL,
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets
);
CALL app.belongs_to_organization('webhooks');
REVOKE UPDATE ON webhooks FROM turnpike_app;

CREATE TABLE webhook_deliveries (
    organization_id uuid        NOT NULL,
    id              uuid        NOT NULL,
    webhook_id      uuid        NOT NULL,
    event           text        NOT NULL,
    body            text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- How the last attempt was answered; nothing where it was not.
    last_status     smallint,
    delivered_at    timestamptz,
    given_up_at     timestamptz,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX webhook_deliveries_latest ON webhook_deliveries (organization_id, webhook_id, id);
CALL app.belongs_to_organization('webhook_deliveries');
CREATE POLICY jobs ON webhook_deliveries TO turnpike_jobs USING (true);
GRANT SELECT, DELETE ON webhook_deliveries TO turnpike_jobs;

-- Whose budget it is.
CREATE FUNCTION app.owner_of_budget(budget uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT organization_id FROM budgets WHERE id = budget
$$;
ALTER FUNCTION app.owner_of_budget(uuid) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.owner_of_budget(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.owner_of_budget(uuid) TO turnpike_app;

-- What is to be delivered now, the longest due first.
CREATE FUNCTION app.due_deliveries(most integer) RETURNS TABLE (organization_id uuid, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT d.organization_id, d.id FROM webhook_deliveries d
     WHERE d.delivered_at IS NULL AND d.given_up_at IS NULL AND d.next_attempt_at <= now()
     ORDER BY d.next_attempt_at LIMIT most
$$;
ALTER FUNCTION app.due_deliveries(integer) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.due_deliveries(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.due_deliveries(integer) TO turnpike_app;

-- Forgets deliveries that ended long ago.
CREATE FUNCTION app.forget_deliveries(before timestamptz) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH gone AS (
        DELETE FROM webhook_deliveries
         WHERE created_at < before AND (delivered_at IS NOT NULL OR given_up_at IS NOT NULL)
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
ALTER FUNCTION app.forget_deliveries(timestamptz) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.forget_deliveries(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.forget_deliveries(timestamptz) TO turnpike_app;
