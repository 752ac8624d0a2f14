-- Who bills whom, on what terms.

-- Whom invoices are from. A change is another row, and the newest is in force: invoices keep
-- what they were written with.
CREATE TABLE sellers (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL,
    address    text        NOT NULL,
    tax_id     text        NOT NULL,
    -- How the numbers of its invoices begin.
    series     text        NOT NULL CHECK (series ~ '^[A-Z0-9]{1,12}$'),
    remittance text        NOT NULL,
    contact    text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON sellers TO turnpike_app;

-- What the organization says of itself.
CREATE TABLE billing_settings (
    organization_id uuid   PRIMARY KEY REFERENCES organizations,
    legal_name      text   NOT NULL,
    address         text   NOT NULL,
    tax_id          text   NOT NULL,
    purchase_order  text   NOT NULL,
    -- Whom invoices are sent to.
    emails          text[] NOT NULL,
    -- One invoice in all, one for each project, or one for each cost center.
    grouping        text   NOT NULL CHECK (grouping IN ('organization', 'project', 'cost_center'))
);
CALL app.belongs_to_organization('billing_settings');

-- What the platform agreed with it.
CREATE TABLE billing_terms (
    organization_id      uuid    PRIMARY KEY REFERENCES organizations,
    payment_days         integer NOT NULL CHECK (payment_days BETWEEN 0 AND 365),
    discount_basis_points integer NOT NULL CHECK (discount_basis_points BETWEEN 0 AND 10000),
    minimum_cents        bigint  NOT NULL CHECK (minimum_cents >= 0),
    tax_name             text    NOT NULL,
    tax_basis_points     integer NOT NULL CHECK (tax_basis_points BETWEEN 0 AND 10000),
    reverse_charge       boolean NOT NULL,
    -- Whether nothing is served that credits do not cover.
    prepaid              boolean NOT NULL DEFAULT false,
    CONSTRAINT billing_terms_tax CHECK (NOT (reverse_charge AND tax_basis_points > 0))
);
CALL app.belongs_to_organization('billing_terms');
CREATE POLICY jobs ON billing_terms FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON billing_terms TO turnpike_jobs;

-- The budget that an organization's credits are: its cap follows what they are worth, and nobody
-- changes it by hand.
CREATE TABLE prepaid_budgets (
    organization_id uuid PRIMARY KEY REFERENCES organizations,
    budget_id       uuid NOT NULL,
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets
);
CALL app.belongs_to_organization('prepaid_budgets');
CREATE POLICY jobs ON prepaid_budgets FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON prepaid_budgets TO turnpike_jobs;

-- Organizations that pay in advance, or did.
CREATE FUNCTION app.prepaid_organizations() RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT organization_id FROM billing_terms WHERE prepaid
    UNION SELECT organization_id FROM prepaid_budgets
$$;
ALTER FUNCTION app.prepaid_organizations() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.prepaid_organizations() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.prepaid_organizations() TO turnpike_app;
