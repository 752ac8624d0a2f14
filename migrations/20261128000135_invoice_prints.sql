-- The PDF of an issued invoice: printed when somebody first asks for it, and from then on those
-- bytes, whatever printer comes after.
CREATE TABLE invoice_prints (
    organization_id uuid        NOT NULL,
    invoice_id      uuid        NOT NULL,
    pdf             bytea       NOT NULL,
    hash            bytea       NOT NULL,
    printed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, invoice_id),
    FOREIGN KEY (organization_id, invoice_id) REFERENCES invoices,
    CONSTRAINT invoice_prints_hash CHECK (hash = sha256(pdf))
);
-- It is packed already.
ALTER TABLE invoice_prints ALTER COLUMN pdf SET STORAGE EXTERNAL;
CALL app.append_only('invoice_prints');

CREATE FUNCTION app.keep_invoice_prints() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was printed is kept' USING ERRCODE = 'TP013';
END
$$;
CREATE TRIGGER keep_invoice_print BEFORE UPDATE OR DELETE ON invoice_prints
    FOR EACH ROW EXECUTE FUNCTION app.keep_invoice_prints();
CREATE TRIGGER keep_invoice_prints BEFORE TRUNCATE ON invoice_prints
    FOR EACH STATEMENT EXECUTE FUNCTION app.keep_invoice_prints();
