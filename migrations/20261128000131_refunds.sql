-- Money that goes back to the card it came from: what a credit note takes back of what was paid.
-- The note's posting takes it out of the cash at once; one that comes to nothing puts it into the
-- wallet, as a credit.

ALTER TABLE ledger_postings DROP CONSTRAINT ledger_postings_kind_check;
ALTER TABLE ledger_postings ADD CONSTRAINT ledger_postings_kind_check CHECK (kind IN (
    'usage', 'credit_granted', 'credit_expired', 'invoice', 'invoice_voided', 'payment',
    'credit_note', 'written_off', 'refund_failed'));

CREATE TABLE payment_refunds (
    organization_id uuid        NOT NULL,
    note_id         uuid        NOT NULL,
    -- Whose payment goes back.
    invoice_id      uuid        NOT NULL,
    cents           bigint      NOT NULL CHECK (cents > 0),
    state           text        NOT NULL DEFAULT 'asked'
                        CHECK (state IN ('asked', 'made', 'failed')),
    remote_id       text        UNIQUE,
    about           text        NOT NULL DEFAULT '',
    asked_at        timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, note_id),
    FOREIGN KEY (organization_id, note_id) REFERENCES invoices,
    FOREIGN KEY (organization_id, invoice_id) REFERENCES collections
);
CREATE INDEX payment_refunds_of ON payment_refunds (organization_id, invoice_id);
CALL app.belongs_to_organization('payment_refunds');
REVOKE UPDATE, DELETE ON payment_refunds FROM turnpike_app;
GRANT UPDATE (state, remote_id, about, changed_at) ON payment_refunds TO turnpike_app;
CREATE POLICY jobs ON payment_refunds FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON payment_refunds TO turnpike_jobs;

-- What failed is a credit by now, and what was made is not asked for again.
CREATE FUNCTION app.keep_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'failed' OR NEW.state = 'asked' THEN
        RAISE EXCEPTION 'a refund only goes forward' USING ERRCODE = 'TP020';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_refund BEFORE UPDATE ON payment_refunds
    FOR EACH ROW EXECUTE FUNCTION app.keep_refund();

-- Whose something at the provider is: an invoice's, or an organization's.
CREATE OR REPLACE FUNCTION app.owners_of_remote(refs text[])
    RETURNS TABLE (organization_id uuid, invoice_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.organization_id, c.invoice_id FROM collections c WHERE c.remote_id = ANY (refs)
    UNION
    SELECT r.organization_id, r.invoice_id FROM payment_refunds r WHERE r.remote_id = ANY (refs)
    UNION
    SELECT p.organization_id, NULL FROM payment_customers p
     WHERE p.remote_id = ANY (refs) OR p.payment_method = ANY (refs)
$$;
