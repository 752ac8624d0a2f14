-- What was spent in a budget's first window before the budget counted: summed up once, so that a
-- store that lost it is told the same again, at once.
CREATE TABLE budget_openings (
    organization_id uuid   NOT NULL,
    budget_id       uuid   NOT NULL,
    -- When that window began, in milliseconds since 1970.
    "window"        bigint NOT NULL,
    money           bigint NOT NULL,
    requests        bigint NOT NULL,
    tokens          bigint NOT NULL,
    PRIMARY KEY (organization_id, budget_id),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets
);
CALL app.belongs_to_organization('budget_openings');
REVOKE UPDATE, DELETE ON budget_openings FROM turnpike_app;
CREATE POLICY jobs ON budget_openings FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON budget_openings TO turnpike_jobs;

-- Whosever they are.
CREATE FUNCTION app.openings_of(budgets uuid[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.budget_id, o.window, o.money, o.requests, o.tokens
      FROM budget_openings o WHERE o.budget_id = ANY (budgets)
$$;
ALTER FUNCTION app.openings_of(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.openings_of(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.openings_of(uuid[]) TO turnpike_app;
