-- Invoices and credit notes: written once, numbered without gaps, never changed. A draft is no
-- row: it is computed when somebody looks.

-- A month is closed when it was invoiced. From then on what comes late is the next month's.
CREATE TABLE closed_months (
    organization_id uuid        NOT NULL REFERENCES organizations,
    month           date        NOT NULL CHECK (extract(day FROM month) = 1),
    closed_at       timestamptz NOT NULL DEFAULT now(),
    closed_by       text        NOT NULL,
    -- What was unusual, and why an operator let it pass.
    approved        text[]      NOT NULL,
    reason          text        NOT NULL,
    PRIMARY KEY (organization_id, month)
);
-- Opened again when all invoices of the month were voided.
CALL app.belongs_to_organization('closed_months');
REVOKE UPDATE ON closed_months FROM turnpike_app;
CREATE POLICY jobs ON closed_months FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON closed_months TO turnpike_jobs;

-- Who bears the costs of days that were invoiced is not changed afterwards.
CREATE FUNCTION app.keep_closed_splits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    split project_splits := coalesce(NEW, OLD);
BEGIN
    IF EXISTS (SELECT FROM closed_months
                WHERE organization_id = split.organization_id
                  AND split.effective_from < month + interval '1 month') THEN
        RAISE EXCEPTION 'the month is closed' USING ERRCODE = 'TP015';
    END IF;
    RETURN split;
END
$$;
CREATE TRIGGER keep_closed_splits BEFORE INSERT OR DELETE ON project_splits
    FOR EACH ROW EXECUTE FUNCTION app.keep_closed_splits();

-- The last number of a series in a year. Its row is locked by whoever takes one, and what is
-- rolled back takes none.
CREATE TABLE invoice_numbers (
    series text   NOT NULL,
    year   integer NOT NULL,
    last   bigint NOT NULL CHECK (last > 0),
    PRIMARY KEY (series, year)
);
GRANT SELECT, INSERT, UPDATE ON invoice_numbers TO turnpike_app;

CREATE TABLE invoices (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    number          text        NOT NULL UNIQUE,
    kind            text        NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
    month           date        NOT NULL CHECK (extract(day FROM month) = 1),
    -- All of the organization, or what it is of.
    scope           text        NOT NULL CHECK (scope IN ('organization', 'project', 'cost_center')),
    scope_id        uuid,
    title           text        NOT NULL,
    -- Of a credit note: what it takes back of.
    refers_to       uuid,
    currency        text        NOT NULL DEFAULT 'USD',
    total_cents     bigint      NOT NULL CHECK (total_cents >= 0),
    -- What credits left to be paid.
    due_cents       bigint      NOT NULL CHECK (due_cents BETWEEN 0 AND total_cents),
    posting_id      uuid        NOT NULL,
    issued_at       timestamptz NOT NULL DEFAULT now(),
    due_on          date        NOT NULL,
    -- The invoice as it is shown, and what its lines are made of. `hash` is of both.
    document        text        NOT NULL,
    details         text        NOT NULL,
    hash            bytea       NOT NULL CHECK (length(hash) = 32),
    -- What may become of it.
    sent_at         timestamptz,
    paid_at         timestamptz,
    voided_at       timestamptz,
    written_off_at  timestamptz,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, refers_to) REFERENCES invoices,
    FOREIGN KEY (organization_id, posting_id) REFERENCES ledger_postings,
    CONSTRAINT invoices_notes CHECK ((kind = 'credit_note') = (refers_to IS NOT NULL)),
    CONSTRAINT invoices_hash CHECK (hash = sha256(convert_to(document || E'\n' || details, 'UTF8')))
);
CREATE INDEX invoices_month ON invoices (organization_id, month);
CREATE INDEX invoices_notes ON invoices (organization_id, refers_to) WHERE refers_to IS NOT NULL;
-- One of each scope a month, but for those that were voided.
CREATE UNIQUE INDEX invoices_once ON invoices (organization_id, month, scope, scope_id)
    NULLS NOT DISTINCT WHERE kind = 'invoice' AND voided_at IS NULL;
CALL app.belongs_to_organization('invoices');
REVOKE UPDATE, DELETE ON invoices FROM turnpike_app;
GRANT UPDATE (sent_at, paid_at, voided_at, written_off_at) ON invoices TO turnpike_app;
CREATE POLICY jobs ON invoices FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON invoices TO turnpike_jobs;

-- Whoever asks, and whatever they are: what was issued stays, and what became of it too.
CREATE FUNCTION app.keep_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was invoices := OLD;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'an invoice is not deleted' USING ERRCODE = 'TP013';
    END IF;
    was.sent_at := coalesce(OLD.sent_at, NEW.sent_at);
    was.paid_at := coalesce(OLD.paid_at, NEW.paid_at);
    was.voided_at := coalesce(OLD.voided_at, NEW.voided_at);
    was.written_off_at := coalesce(OLD.written_off_at, NEW.written_off_at);
    IF NEW IS DISTINCT FROM was THEN
        RAISE EXCEPTION 'an invoice is not changed' USING ERRCODE = 'TP013';
    END IF;
    IF NEW.voided_at IS NOT NULL AND NEW.due_cents > 0
       AND (NEW.paid_at IS NOT NULL OR NEW.written_off_at IS NOT NULL) THEN
        RAISE EXCEPTION 'what is paid or written off is not voided' USING ERRCODE = 'TP013';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_invoice BEFORE UPDATE OR DELETE ON invoices
    FOR EACH ROW EXECUTE FUNCTION app.keep_invoice();
CREATE FUNCTION app.keep_invoices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'invoices are not deleted' USING ERRCODE = 'TP013';
END
$$;
CREATE TRIGGER keep_invoices BEFORE TRUNCATE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION app.keep_invoices();

-- Credit notes take back no more than was invoiced.
CREATE FUNCTION app.keep_credit_notes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.refers_to IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM FROM ledger_heads WHERE organization_id = NEW.organization_id FOR UPDATE;
    IF (SELECT sum(n.total_cents) FROM invoices n
         WHERE n.organization_id = NEW.organization_id AND n.refers_to = NEW.refers_to)
       > (SELECT i.total_cents FROM invoices i
           WHERE i.organization_id = NEW.organization_id AND i.id = NEW.refers_to
             AND i.kind = 'invoice') THEN
        RAISE EXCEPTION 'credit notes take back no more than was invoiced' USING ERRCODE = 'TP014';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_credit_notes AFTER INSERT ON invoices
    FOR EACH ROW EXECUTE FUNCTION app.keep_credit_notes();

CREATE TABLE invoice_payments (
    organization_id uuid        NOT NULL,
    posting_id      uuid        NOT NULL,
    invoice_id      uuid        NOT NULL,
    cents           bigint      NOT NULL CHECK (cents > 0),
    method          text        NOT NULL CHECK (method IN ('bank_transfer', 'card', 'cheque', 'other')),
    reference       text        NOT NULL,
    received_on     date        NOT NULL,
    recorded_by     text        NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, posting_id),
    FOREIGN KEY (organization_id, posting_id) REFERENCES ledger_postings,
    FOREIGN KEY (organization_id, invoice_id) REFERENCES invoices
);
CREATE INDEX invoice_payments_invoice ON invoice_payments (organization_id, invoice_id);
CALL app.append_only('invoice_payments');

-- Organizations that used anything in a month, or that an invoice of it is for, by name.
CREATE FUNCTION app.billed_organizations(of date)
    RETURNS TABLE (id uuid, name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT o.id, o.name FROM organizations o
     WHERE EXISTS (SELECT FROM usage_days d
                    WHERE d.organization_id = o.id AND d.day >= of
                      AND d.day < of + interval '1 month')
        OR EXISTS (SELECT FROM charges c WHERE c.organization_id = o.id AND c.billing_month = of)
        OR EXISTS (SELECT FROM closed_months m WHERE m.organization_id = o.id AND m.month = of)
     ORDER BY lower(o.name), o.id
     LIMIT 1000
$$;
ALTER FUNCTION app.billed_organizations(date) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.billed_organizations(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.billed_organizations(date) TO turnpike_app;

-- Those of them that used anything and that the month is not closed for.
CREATE FUNCTION app.unclosed_organizations(of date) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT o.id FROM organizations o
     WHERE (EXISTS (SELECT FROM usage_days d
                     WHERE d.organization_id = o.id AND d.day >= of
                       AND d.day < of + interval '1 month')
            OR EXISTS (SELECT FROM charges c
                        WHERE c.organization_id = o.id AND c.billing_month = of))
       AND NOT EXISTS (SELECT FROM closed_months m WHERE m.organization_id = o.id AND m.month = of)
     ORDER BY o.id
$$;
ALTER FUNCTION app.unclosed_organizations(date) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.unclosed_organizations(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.unclosed_organizations(date) TO turnpike_app;

-- Settlements of a shard that are missing before others and were billed since a moment.
CREATE FUNCTION app.missing_usage(of smallint, since_at timestamptz) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT coalesce(sum(w.highest - w.last - (
               SELECT count(*) FROM usage_events e
                WHERE e.shard = w.shard AND e.epoch = w.epoch AND e.number > w.last
                  AND e.billed_at >= w.since)), 0)::bigint
      FROM usage_watermarks w
     WHERE w.shard = of AND w.highest > w.last AND w.seen_at >= since_at
$$;
ALTER FUNCTION app.missing_usage(smallint, timestamptz) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.missing_usage(smallint, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.missing_usage(smallint, timestamptz) TO turnpike_app;

-- Whether the books of a day agree, for the whole platform: what reconciliation compares.
CREATE FUNCTION app.ledger_sums(of date) RETURNS TABLE (
    charged_usage numeric, charges numeric, owed numeric, accrued numeric, behind bigint
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH hours AS (
        SELECT h.organization_id, h.hour, sum(h.calls) AS calls, sum(h.cost_nano) AS cost,
               c.calls AS charged_calls
          FROM usage_hours h LEFT JOIN charged_hours c USING (organization_id, hour)
         WHERE h.hour >= of AND h.hour < of + 1
         GROUP BY 1, 2, 5
    )
    SELECT coalesce((SELECT sum(cost) FROM hours WHERE calls = charged_calls), 0),
           coalesce((SELECT sum(c.cost_nano) FROM charges c JOIN hours h USING (organization_id, hour)
                      WHERE h.calls = h.charged_calls), 0),
           coalesce((SELECT sum(c.cost_nano) FROM charges c
                      WHERE c.hour >= of AND c.hour < of + 1 AND NOT c.is_own), 0),
           coalesce((SELECT sum(e.amount) FROM ledger_entries e
                       JOIN ledger_postings p
                         ON (p.organization_id, p.id) = (e.organization_id, e.posting_id)
                      WHERE p.kind = 'usage' AND e.account = 'accrued'
                        AND EXISTS (SELECT FROM charges c
                                     WHERE (c.organization_id, c.posting_id)
                                           = (p.organization_id, p.id)
                                       AND c.hour >= of AND c.hour < of + 1)), 0),
           (SELECT count(*) FROM hours
             WHERE calls IS DISTINCT FROM charged_calls AND hour < now() - interval '2 hours')
$$;

-- What differs on a day between what was used and what was charged, hour by hour; of hours that
-- were charged as far as they were used.
CREATE FUNCTION app.differing_charges(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH charged AS (
        SELECT organization_id, hour FROM charged_hours c
         WHERE hour >= of AND hour < of + 1
           AND calls = (SELECT sum(h.calls) FROM usage_hours h
                         WHERE (h.organization_id, h.hour) = (c.organization_id, c.hour))
    ), a AS (
        SELECT organization_id, hour, project_id, key_id, provider, model, usage_source,
               sum(cost_nano) AS cost
          FROM usage_hours JOIN charged USING (organization_id, hour)
         GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), b AS (
        SELECT organization_id, hour, project_id, key_id, provider, model, usage_source,
               sum(cost_nano) AS cost
          FROM charges JOIN charged USING (organization_id, hour)
         GROUP BY 1, 2, 3, 4, 5, 6, 7
    )
    SELECT concat_ws(' ', 'organization=' || organization_id,
               'hour=' || to_char(hour, 'YYYY-MM-DD"T"HH24:MI"Z"'), 'project=' || project_id,
               'key=' || key_id, 'provider=' || provider, 'model=' || model,
               'source=' || usage_source),
           'cost_nano', coalesce(a.cost, 0), coalesce(b.cost, 0)
      FROM a FULL JOIN b
     USING (organization_id, hour, project_id, key_id, provider, model, usage_source)
     WHERE coalesce(a.cost, 0) <> coalesce(b.cost, 0)
$$;

-- Postings of usage that are not what they charge.
CREATE FUNCTION app.differing_accruals(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT concat_ws(' ', 'organization=' || c.organization_id, 'posting=' || c.posting_id),
           'accrued', c.charged, coalesce(sum(e.amount), 0)
      FROM (SELECT organization_id, posting_id, sum(cost_nano) FILTER (WHERE NOT is_own) AS cost,
                   coalesce(sum(cost_nano) FILTER (WHERE NOT is_own), 0) AS charged
              FROM charges WHERE hour >= of AND hour < of + 1 GROUP BY 1, 2) c
      LEFT JOIN ledger_entries e
             ON (e.organization_id, e.posting_id) = (c.organization_id, c.posting_id)
            AND e.account = 'accrued'
     GROUP BY c.organization_id, c.posting_id, c.charged
    HAVING c.charged <> coalesce(sum(e.amount), 0)
$$;

-- The same of months that were closed, from one on: what was charged, what invoices are made of,
-- what they say, and what the ledger says of them.
CREATE FUNCTION app.invoice_sums(since date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH valid AS (
        SELECT i.organization_id, i.month, i.id, i.number, i.total_cents, i.due_cents,
               i.posting_id, (i.document::jsonb ->> 'usage_nano')::numeric AS usage_nano,
               (SELECT coalesce(sum((d ->> 'cost_nano')::numeric), 0)
                  FROM jsonb_array_elements(i.details::jsonb) d
                 WHERE NOT (d ->> 'own')::boolean) AS details_nano
          FROM invoices i
         WHERE i.kind = 'invoice' AND i.voided_at IS NULL AND i.month >= since
    ), months AS (
        SELECT m.organization_id, m.month,
               (SELECT coalesce(sum(c.cost_nano), 0) FROM charges c
                 WHERE c.organization_id = m.organization_id AND c.billing_month = m.month
                   AND NOT c.is_own) AS charged,
               (SELECT coalesce(sum(v.usage_nano), 0) FROM valid v
                 WHERE (v.organization_id, v.month) = (m.organization_id, m.month)) AS invoiced
          FROM closed_months m WHERE m.month >= since
    )
    SELECT concat_ws(' ', 'organization=' || organization_id, 'month=' || month), 'cost_nano',
           charged, invoiced FROM months
    UNION ALL
    SELECT concat_ws(' ', 'organization=' || organization_id, 'invoice=' || number), 'details_nano',
           usage_nano, details_nano FROM valid
    UNION ALL
    SELECT concat_ws(' ', 'organization=' || v.organization_id, 'invoice=' || v.number),
           'accrued', v.usage_nano, -coalesce(sum(e.amount), 0)
      FROM valid v LEFT JOIN ledger_entries e
        ON (e.organization_id, e.posting_id) = (v.organization_id, v.posting_id)
       AND e.account = 'accrued'
     GROUP BY v.organization_id, v.number, v.usage_nano
    UNION ALL
    SELECT concat_ws(' ', 'organization=' || v.organization_id, 'invoice=' || v.number),
           'receivable', v.due_cents * 10000000::numeric, coalesce(sum(e.amount), 0)
      FROM valid v LEFT JOIN ledger_entries e
        ON (e.organization_id, e.posting_id) = (v.organization_id, v.posting_id)
       AND e.account = 'receivable'
     GROUP BY v.organization_id, v.number, v.due_cents
$$;

-- Ledgers that do not balance, and days that are not what was sealed, from a day on.
CREATE FUNCTION app.broken_ledgers(since date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT concat_ws(' ', 'organization=' || e.organization_id, 'posting=' || e.posting_id,
                     'currency=' || e.currency), 'amount', sum(e.amount), 0::numeric
      FROM ledger_entries e
      JOIN ledger_postings p ON (p.organization_id, p.id) = (e.organization_id, e.posting_id)
     WHERE p.posted_at >= since
     GROUP BY e.organization_id, e.posting_id, e.currency HAVING sum(e.amount) <> 0
    UNION ALL
    SELECT concat_ws(' ', 'organization=' || d.organization_id, 'day=' || d.day), 'hash', 0, 1
      FROM (SELECT d.*, lag(d.hash) OVER (PARTITION BY d.organization_id ORDER BY d.day) AS before
              FROM ledger_days d) d
     WHERE d.day >= since AND d.hash <> sha256(coalesce(d.before, '\x') || convert_to(
               app.ledger_text(d.organization_id, d.day), 'UTF8'))
    UNION ALL
    SELECT concat_ws(' ', 'organization=' || h.organization_id, 'head'), 'hash', 0, 1
      FROM ledger_heads h
     WHERE h.hash IS DISTINCT FROM (SELECT d.hash FROM ledger_days d
                                     WHERE d.organization_id = h.organization_id
                                     ORDER BY d.day DESC LIMIT 1)
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.ledger_sums(date)', 'app.differing_charges(date)', 'app.differing_accruals(date)',
        'app.invoice_sums(date)', 'app.broken_ledgers(date)']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
