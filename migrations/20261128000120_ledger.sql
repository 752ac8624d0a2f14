-- The ledger: what was used, owed, paid and given, in double entry. What is written stays, and a
-- day that is over is sealed.
--
-- An entry above zero is a debit, one below a credit. Amounts are nano-dollars.

-- As other tenants' tables, but nobody changes or deletes a row.
CREATE PROCEDURE app.append_only(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    CALL app.belongs_to_organization(name);
    EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM turnpike_app', name);
    EXECUTE format('CREATE POLICY jobs ON %s FOR SELECT TO turnpike_jobs USING (true)', name);
    EXECUTE format('GRANT SELECT ON %s TO turnpike_jobs', name);
END
$$;

-- Writers of an organization's ledger queue here. Up to when its days are sealed.
CREATE TABLE ledger_heads (
    organization_id uuid  PRIMARY KEY REFERENCES organizations,
    sealed_until    date,
    hash            bytea CHECK (length(hash) = 32)
);
CALL app.belongs_to_organization('ledger_heads');
REVOKE DELETE ON ledger_heads FROM turnpike_app;
CREATE POLICY jobs ON ledger_heads FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON ledger_heads TO turnpike_jobs;

CREATE TABLE ledger_postings (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN (
                        'usage', 'credit_granted', 'credit_expired', 'invoice', 'invoice_voided',
                        'payment', 'credit_note', 'written_off')),
    -- What makes saying it twice the same as saying it once.
    idempotency_key text        NOT NULL,
    about           text        NOT NULL,
    posted_at       timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT ledger_postings_once UNIQUE (organization_id, idempotency_key)
);
CREATE INDEX ledger_postings_at ON ledger_postings (organization_id, posted_at);
CALL app.append_only('ledger_postings');

CREATE TABLE ledger_entries (
    organization_id uuid     NOT NULL,
    posting_id      uuid     NOT NULL,
    place           smallint NOT NULL,
    account         text     NOT NULL CHECK (account IN (
                        'accrued', 'receivable', 'cash', 'wallet', 'promotions',
                        'promotion_expense', 'revenue', 'discounts', 'tax_payable', 'rounding',
                        'breakage', 'bad_debt')),
    currency        text     NOT NULL DEFAULT 'USD',
    amount          bigint   NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (organization_id, posting_id, place),
    FOREIGN KEY (organization_id, posting_id) REFERENCES ledger_postings
);
CALL app.append_only('ledger_entries');

-- A posting is of the day on which it is written, and none comes into a day that is sealed.
CREATE FUNCTION app.date_posting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.posted_at := clock_timestamp();
    IF EXISTS (SELECT FROM ledger_heads
                WHERE organization_id = NEW.organization_id
                  AND sealed_until >= (NEW.posted_at AT TIME ZONE 'UTC')::date) THEN
        RAISE EXCEPTION 'the day is sealed' USING ERRCODE = 'TP011';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER date_posting BEFORE INSERT ON ledger_postings
    FOR EACH ROW EXECUTE FUNCTION app.date_posting();

CREATE FUNCTION app.keep_sealed_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_postings p JOIN ledger_heads h USING (organization_id)
                WHERE p.organization_id = NEW.organization_id AND p.id = NEW.posting_id
                  AND h.sealed_until >= (p.posted_at AT TIME ZONE 'UTC')::date) THEN
        RAISE EXCEPTION 'the day is sealed' USING ERRCODE = 'TP011';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_sealed_days BEFORE INSERT ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION app.keep_sealed_days();

-- At the end of each transaction debits and credits of a posting are equal, in each currency.
CREATE FUNCTION app.balance_posting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_entries
                WHERE organization_id = NEW.organization_id AND posting_id = NEW.posting_id
                GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'debits and credits differ' USING ERRCODE = 'TP010';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER balance_posting AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.balance_posting();

-- What a day's postings are, as one text: what is hashed.
CREATE FUNCTION app.ledger_text(organization uuid, of date) RETURNS text LANGUAGE sql STABLE
    SET search_path = public SET timezone = 'UTC' AS $$
    SELECT coalesce(string_agg(
               concat_ws('|', p.id, p.kind, p.idempotency_key, p.about,
                         to_char(p.posted_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                         (SELECT string_agg(concat_ws(':', e.place, e.account, e.currency, e.amount),
                                            ',' ORDER BY e.place)
                            FROM ledger_entries e
                           WHERE (e.organization_id, e.posting_id) = (p.organization_id, p.id))),
               E'\n' ORDER BY p.posted_at, p.id), '')
      FROM ledger_postings p
     WHERE p.organization_id = organization AND p.posted_at >= of AND p.posted_at < of + 1
$$;

-- The hash of each day on which something was posted seals the one before.
CREATE TABLE ledger_days (
    organization_id uuid   NOT NULL REFERENCES organizations,
    day             date   NOT NULL,
    postings        bigint NOT NULL,
    hash            bytea  NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (organization_id, day)
);
CALL app.append_only('ledger_days');

-- What one hour's usage of one class at one price came to: what the ledger accrues, and what
-- invoices are made of. Of an hour of which something was told late there is another batch.
CREATE TABLE charges (
    organization_id uuid        NOT NULL,
    posting_id      uuid        NOT NULL,
    place           integer     NOT NULL,
    hour            timestamptz NOT NULL,
    -- Whose invoice it is on: the month's of the hour, or the next that was not closed.
    billing_month   date        NOT NULL CHECK (extract(day FROM billing_month) = 1),
    project_id      uuid        NOT NULL,
    key_id          uuid        NOT NULL,
    provider        text        NOT NULL,
    model           text        NOT NULL,
    usage_source    text        NOT NULL,
    -- Whether the organization's own credential opened the provider: nothing that it owes us.
    is_own          boolean     NOT NULL,
    class           text        NOT NULL,
    -- Dollars for one unit, exactly; empty where the price is not known any more.
    unit_price      text        NOT NULL,
    quantity        bigint      NOT NULL CHECK (quantity >= 0),
    cost_nano       bigint      NOT NULL CHECK (cost_nano >= 0),
    PRIMARY KEY (organization_id, posting_id, place),
    FOREIGN KEY (organization_id, posting_id) REFERENCES ledger_postings
);
CREATE INDEX charges_month ON charges (organization_id, billing_month);
CREATE INDEX charges_hour ON charges (organization_id, hour);
CALL app.append_only('charges');

-- How far an hour's usage was charged.
CREATE TABLE charged_hours (
    organization_id uuid        NOT NULL REFERENCES organizations,
    hour            timestamptz NOT NULL,
    calls           bigint      NOT NULL,
    cost_nano       bigint      NOT NULL,
    PRIMARY KEY (organization_id, hour)
);
CALL app.belongs_to_organization('charged_hours');
REVOKE DELETE ON charged_hours FROM turnpike_app;
CREATE POLICY jobs ON charged_hours FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON charged_hours TO turnpike_jobs;

-- Hours that are over and of which more was used than charged, the earliest first.
CREATE FUNCTION app.uncharged_hours(until timestamptz, most integer)
    RETURNS TABLE (organization_id uuid, hour timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT h.organization_id, h.hour
      FROM usage_hours h LEFT JOIN charged_hours c USING (organization_id, hour)
     WHERE h.hour < until
     GROUP BY h.organization_id, h.hour, c.calls, c.cost_nano
    HAVING (sum(h.calls), sum(h.cost_nano)) IS DISTINCT FROM (c.calls::numeric, c.cost_nano::numeric)
     ORDER BY h.hour, h.organization_id
     LIMIT most
$$;

-- Organizations with something posted on days before this one that are not sealed.
CREATE FUNCTION app.unsealed_ledgers(today date) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT h.organization_id FROM ledger_heads h
     WHERE EXISTS (SELECT FROM ledger_postings p
                    WHERE p.organization_id = h.organization_id AND p.posted_at < today
                      AND (h.sealed_until IS NULL OR p.posted_at >= h.sealed_until + 1))
$$;

-- Credits: given, bought or committed to; used up by invoices in a fixed order.
CREATE TABLE credit_grants (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('promotional', 'paid', 'commitment')),
    name            text        NOT NULL,
    -- The lower the sooner it is used.
    priority        smallint    NOT NULL CHECK (priority BETWEEN 0 AND 100),
    cents           bigint      NOT NULL CHECK (cents > 0),
    effective_on    date        NOT NULL,
    -- The first day on which it is worth nothing.
    expires_on      date        CHECK (expires_on > effective_on),
    -- How the money came, where it did.
    reference       text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, id)
);
CALL app.append_only('credit_grants');

CREATE TABLE credit_uses (
    organization_id uuid   NOT NULL,
    grant_id        uuid   NOT NULL,
    posting_id      uuid   NOT NULL,
    -- Below zero where an invoice that it was used for was voided.
    cents           bigint NOT NULL CHECK (cents <> 0),
    PRIMARY KEY (organization_id, grant_id, posting_id),
    FOREIGN KEY (organization_id, grant_id) REFERENCES credit_grants,
    FOREIGN KEY (organization_id, posting_id) REFERENCES ledger_postings
);
CALL app.append_only('credit_uses');

-- A credit is never used beyond what it is worth.
CREATE FUNCTION app.keep_credit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM ledger_heads WHERE organization_id = NEW.organization_id FOR UPDATE;
    IF EXISTS (SELECT FROM credit_grants g
                WHERE g.organization_id = NEW.organization_id AND g.id = NEW.grant_id
                  AND (SELECT sum(u.cents) FROM credit_uses u
                        WHERE (u.organization_id, u.grant_id) = (g.organization_id, g.id))
                      NOT BETWEEN 0 AND g.cents) THEN
        RAISE EXCEPTION 'no credit is used beyond what it is worth' USING ERRCODE = 'TP012';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_credit AFTER INSERT ON credit_uses
    FOR EACH ROW EXECUTE FUNCTION app.keep_credit();

-- Organizations with a credit that is worth nothing any more and was not used up.
CREATE FUNCTION app.expired_credits(today date) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT DISTINCT g.organization_id FROM credit_grants g
     WHERE g.expires_on <= today
       AND g.cents > coalesce((SELECT sum(u.cents) FROM credit_uses u
                                WHERE (u.organization_id, u.grant_id) = (g.organization_id, g.id)), 0)
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.uncharged_hours(timestamptz, integer)', 'app.unsealed_ledgers(date)',
        'app.expired_credits(date)']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
