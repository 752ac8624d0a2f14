-- People, how they prove who they are, and where they are signed in.

CREATE TABLE people (
    id                uuid        PRIMARY KEY,
    -- As typed, but for its case. Several people may claim an address; one can have
    -- shown that it is theirs.
    email             text        NOT NULL CHECK (email = lower(email)),
    email_verified_at timestamptz,
    password_hash     text        NOT NULL,
    time_zone         text        NOT NULL DEFAULT 'UTC',
    theme             text        NOT NULL DEFAULT 'system'
                                  CHECK (theme IN ('system', 'light', 'dark')),
    is_operator       boolean     NOT NULL DEFAULT false,
    disabled_at       timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX people_verified_email ON people (email) WHERE email_verified_at IS NOT NULL;
CREATE INDEX people_email ON people (email, created_at);

CREATE TABLE sessions (
    id               uuid        PRIMARY KEY,
    token_hash       bytea       NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    person_id        uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    -- The second factor, where it was shown. Nothing of an organization that requires
    -- one opens without.
    second_factor_at timestamptz,
    address          inet        NOT NULL,
    user_agent       text        NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);
CREATE INDEX sessions_person ON sessions (person_id, last_seen_at);

-- Links sent by mail. The link holds the token; this table its hash.
CREATE TABLE email_links (
    token_hash bytea       PRIMARY KEY CHECK (length(token_hash) = 32),
    person_id  uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    purpose    text        NOT NULL CHECK (purpose IN ('verify', 'reset')),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX email_links_person ON email_links (person_id);

-- One-time codes. A counter is used once, so a code seen over a shoulder is worth nothing.
CREATE TABLE second_factors (
    person_id    uuid        PRIMARY KEY REFERENCES people ON DELETE CASCADE,
    sealed_seed  bytea       NOT NULL,
    confirmed_at timestamptz,
    last_counter bigint      NOT NULL DEFAULT 0
);

CREATE TABLE recovery_codes (
    person_id uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    code_hash bytea       NOT NULL CHECK (length(code_hash) = 32),
    used_at   timestamptz,
    PRIMARY KEY (person_id, code_hash)
);

-- Failed attempts, by account and by address, each with a growing pause.
CREATE TABLE attempts (
    bucket        bytea       PRIMARY KEY CHECK (length(bucket) = 32),
    failures      integer     NOT NULL,
    blocked_until timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE
   ON people, sessions, email_links, second_factors, recovery_codes, attempts TO turnpike_app;
