-- Mail on its way. Written in the transaction that has the reason for it, sent by a job.
CREATE TABLE mail_outbox (
    id              uuid        PRIMARY KEY,
    recipient       text        NOT NULL,
    subject         text        NOT NULL,
    -- Sealed, because it holds links that sign people in.
    sealed_text     bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz,
    last_error      text
);
CREATE INDEX mail_outbox_due ON mail_outbox (next_attempt_at) WHERE sent_at IS NULL;
CREATE INDEX mail_outbox_recent ON mail_outbox (created_at DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON mail_outbox TO turnpike_app;
