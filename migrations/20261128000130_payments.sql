-- Collecting invoices by a payment provider. What is owed and paid stands in the ledger and in
-- `invoices`; this is how far the provider has been told of it, and with which keys.

-- An organization as the provider knows it, and the card that it pays with.
CREATE TABLE payment_customers (
    organization_id uuid        PRIMARY KEY REFERENCES organizations,
    remote_id       text        UNIQUE,
    payment_method  text,
    card_brand      text        NOT NULL DEFAULT '',
    card_last4      text        NOT NULL DEFAULT '',
    card_expires    text        NOT NULL DEFAULT '',
    changed_at      timestamptz NOT NULL DEFAULT now()
);
CALL app.belongs_to_organization('payment_customers');
REVOKE DELETE ON payment_customers FROM turnpike_app;
CREATE POLICY jobs ON payment_customers FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON payment_customers TO turnpike_jobs;

-- How far an invoice is collected. The stage only goes forward.
CREATE TABLE collections (
    organization_id uuid        NOT NULL,
    invoice_id      uuid        NOT NULL,
    stage           text        NOT NULL DEFAULT 'new' CHECK (stage IN (
                        'new', 'drafted', 'lined', 'open', 'uncollectible', 'paid', 'void',
                        'by_hand')),
    remote_id       text        UNIQUE,
    -- What we said that the provider's invoice comes to, and what is left of it, as it says.
    cents           bigint      NOT NULL DEFAULT 0,
    remaining_cents bigint      NOT NULL DEFAULT 0,
    -- Where it can be paid by whoever has the address.
    hosted_url      text,
    -- How often the card was charged in vain, and from when on it is charged again.
    tries           integer     NOT NULL DEFAULT 0,
    try_at          timestamptz,
    declined        text        NOT NULL DEFAULT '',
    -- When there is something to do; never, where something has to happen first.
    next_at         timestamptz DEFAULT '-infinity',
    -- How often in a row it came to nothing, and why.
    failures        integer     NOT NULL DEFAULT 0,
    reason          text        NOT NULL DEFAULT '',
    changed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, invoice_id),
    FOREIGN KEY (organization_id, invoice_id) REFERENCES invoices
);
CREATE INDEX collections_due ON collections (next_at) WHERE next_at IS NOT NULL;
CALL app.belongs_to_organization('collections');
REVOKE DELETE ON collections FROM turnpike_app;
CREATE POLICY jobs ON collections FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON collections TO turnpike_jobs;

CREATE FUNCTION app.keep_stage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ranks text[] := ARRAY['new', 'drafted', 'lined', 'open', 'uncollectible', 'by_hand', 'void', 'paid'];
BEGIN
    IF array_position(ranks, NEW.stage) < array_position(ranks, OLD.stage) THEN
        RAISE EXCEPTION 'a stage only goes forward' USING ERRCODE = 'TP020';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_stage BEFORE UPDATE ON collections
    FOR EACH ROW EXECUTE FUNCTION app.keep_stage();

-- Each call that changes something at the provider, written before it is made, with its key. A
-- call that nobody knows the end of is made again with the same key and the same words.
CREATE TABLE payment_calls (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    -- What it is about: an invoice's id or a credit note's; the organization's own of its customer.
    subject         uuid        NOT NULL,
    operation       text        NOT NULL,
    attempt         integer     NOT NULL,
    idempotency_key text        NOT NULL UNIQUE,
    call            text        NOT NULL,
    asked_at        timestamptz NOT NULL,
    -- Whether it was answered by something that would be said again: what came of it is looked
    -- up before anything else.
    in_doubt        boolean     NOT NULL DEFAULT false,
    ended_at        timestamptz,
    outcome         text        CHECK (outcome IN ('done', 'declined', 'failed')),
    about           text        NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, subject, operation, attempt),
    CONSTRAINT payment_calls_ended CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX payment_calls_open ON payment_calls (organization_id, subject)
    WHERE ended_at IS NULL;
CALL app.belongs_to_organization('payment_calls');
REVOKE DELETE ON payment_calls FROM turnpike_app;
CREATE POLICY jobs ON payment_calls FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON payment_calls TO turnpike_jobs;

-- Money that the provider received for an invoice, each payment once.
CREATE TABLE payment_receipts (
    organization_id uuid        NOT NULL,
    remote_id       text        NOT NULL,
    invoice_id      uuid        NOT NULL,
    cents           bigint      NOT NULL CHECK (cents > 0),
    noted_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, remote_id),
    FOREIGN KEY (organization_id, invoice_id) REFERENCES invoices
);
CALL app.append_only('payment_receipts');

-- What the provider told, each event once. Only what it is about is kept: how that is now is
-- asked for.
CREATE TABLE payment_events (
    id          text        PRIMARY KEY,
    kind        text        NOT NULL,
    -- The provider's names of what it is about.
    refs        text[]      NOT NULL,
    told_by     text        NOT NULL CHECK (told_by IN ('webhook', 'sweep')),
    received_at timestamptz NOT NULL,
    handled_at  timestamptz,
    attempts    integer     NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT '-infinity',
    problem     text        NOT NULL DEFAULT ''
);
CREATE INDEX payment_events_due ON payment_events (next_at) WHERE handled_at IS NULL;
CREATE INDEX payment_events_handled ON payment_events (handled_at) WHERE handled_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_events TO turnpike_app;

-- Up to when the provider's list of events was read.
CREATE TABLE payment_sweeps (
    singleton   boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    swept_until timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON payment_sweeps TO turnpike_app;

-- What becomes of an invoice here is to be told there.
CREATE FUNCTION app.wake_collection() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of uuid;
BEGIN
    CASE TG_TABLE_NAME
        WHEN 'invoice_payments' THEN of := NEW.invoice_id;
        ELSE of := coalesce(NEW.refers_to, NEW.id);
    END CASE;
    UPDATE collections SET next_at = '-infinity'
     WHERE organization_id = NEW.organization_id AND invoice_id = of;
    RETURN NULL;
END
$$;
CREATE TRIGGER wake_collection AFTER UPDATE OF paid_at, voided_at, written_off_at ON invoices
    FOR EACH ROW EXECUTE FUNCTION app.wake_collection();
CREATE TRIGGER wake_collection_by_note AFTER INSERT ON invoices
    FOR EACH ROW WHEN (NEW.refers_to IS NOT NULL) EXECUTE FUNCTION app.wake_collection();
CREATE TRIGGER wake_collection AFTER INSERT ON invoice_payments
    FOR EACH ROW EXECUTE FUNCTION app.wake_collection();

-- Invoices with something to be paid that nobody began to collect.
CREATE FUNCTION app.uncollected_invoices(most integer)
    RETURNS TABLE (organization_id uuid, invoice_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT i.organization_id, i.id FROM invoices i
     WHERE i.kind = 'invoice' AND i.due_cents > 0 AND i.paid_at IS NULL AND i.voided_at IS NULL
       AND i.written_off_at IS NULL
       AND NOT EXISTS (SELECT FROM collections c
                        WHERE (c.organization_id, c.invoice_id) = (i.organization_id, i.id))
     ORDER BY i.issued_at, i.id LIMIT most
$$;
CREATE INDEX invoices_unpaid ON invoices (issued_at, id)
    WHERE kind = 'invoice' AND paid_at IS NULL AND voided_at IS NULL AND written_off_at IS NULL;

-- Those with something to do, the longest due first.
CREATE FUNCTION app.due_collections(at timestamptz, most integer)
    RETURNS TABLE (organization_id uuid, invoice_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.organization_id, c.invoice_id FROM collections c
     WHERE c.next_at <= at ORDER BY c.next_at, c.invoice_id LIMIT most
$$;

-- Whose something at the provider is: an invoice's, or an organization's.
CREATE FUNCTION app.owners_of_remote(refs text[])
    RETURNS TABLE (organization_id uuid, invoice_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.organization_id, c.invoice_id FROM collections c WHERE c.remote_id = ANY (refs)
    UNION
    SELECT p.organization_id, NULL FROM payment_customers p
     WHERE p.remote_id = ANY (refs) OR p.payment_method = ANY (refs)
$$;

-- What does not go on by itself, for operators: the longest first.
CREATE FUNCTION app.stuck_collections() RETURNS TABLE (
    organization_id uuid, organization text, invoice_id uuid, number text, stage text,
    failures integer, reason text, changed_at timestamptz, next_at timestamptz
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.organization_id, o.name, c.invoice_id, i.number, c.stage, c.failures, c.reason,
           c.changed_at, c.next_at
      FROM collections c
      JOIN organizations o ON o.id = c.organization_id
      JOIN invoices i ON (i.organization_id, i.id) = (c.organization_id, c.invoice_id)
     WHERE c.failures > 0
     ORDER BY c.failures DESC, c.changed_at LIMIT 200
$$;

-- How many invoices there are in each stage, for operators.
CREATE FUNCTION app.counted_collections() RETURNS TABLE (stage text, count bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT stage, count(*) FROM collections GROUP BY stage ORDER BY stage
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.uncollected_invoices(integer)', 'app.due_collections(timestamptz, integer)',
        'app.owners_of_remote(text[])', 'app.stuck_collections()',
        'app.counted_collections()']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
