-- Of what a threshold was passed: of money, requests or tokens, how much was spent of that and what
-- the cap was; and by which terms of the budget, for higher caps have thresholds of their own.
ALTER TABLE budget_alerts
    ADD COLUMN kind    text   NOT NULL DEFAULT 'money'
                              CHECK (kind IN ('money', 'requests', 'tokens')),
    -- Nothing of those before this was told.
    ADD COLUMN amount  bigint,
    ADD COLUMN cap     bigint,
    ADD COLUMN version bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT budget_alerts_pkey,
    ADD PRIMARY KEY (organization_id, budget_id, "window", percent, version);
