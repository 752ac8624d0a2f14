-- What was done, by whom: a chain of entries for each organization, which can be added
-- to and read, and not changed.
--
-- `body` is the entry as it was written, byte for byte, and the hash covers it; every
-- other column is derived from it or covered too.
CREATE TABLE audit_entries (
    organization_id uuid        NOT NULL,
    seq             bigint      NOT NULL,
    at              timestamptz NOT NULL,
    body            text        NOT NULL,
    hash            bytea       NOT NULL CHECK (length(hash) = 32),
    action          text        NOT NULL GENERATED ALWAYS AS ((body::jsonb) ->> 'action') STORED,
    actor           text        NOT NULL GENERATED ALWAYS AS ((body::jsonb) ->> 'actor') STORED,
    target          text        NOT NULL GENERATED ALWAYS AS ((body::jsonb) ->> 'target') STORED,
    -- To find what somebody did by how their name begins.
    actor_name      text        COLLATE "C" NOT NULL
                                GENERATED ALWAYS AS (lower((body::jsonb) ->> 'actor_name')) STORED,
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX audit_entries_action ON audit_entries (organization_id, action, seq);
CREATE INDEX audit_entries_actor ON audit_entries (organization_id, actor, seq);
CREATE INDEX audit_entries_actor_name ON audit_entries (organization_id, actor_name, seq);

-- Where each chain ends. A chain shorter than its head was cut.
CREATE TABLE audit_heads (
    organization_id uuid   PRIMARY KEY,
    seq             bigint NOT NULL,
    hash            bytea  NOT NULL
);

CREATE FUNCTION app.audit_hash(
    previous bytea, organization uuid, seq bigint, at timestamptz, body text
) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(previous || convert_to(
        organization::text || '|' || seq::text || '|'
        || (extract(epoch FROM at) * 1000000)::bigint::text || '|' || body, 'UTF8'))
$$;

ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY within_organization ON audit_entries FOR SELECT
    USING (organization_id = app.organization_id());
GRANT SELECT ON audit_entries TO turnpike_app;
CREATE POLICY jobs ON audit_entries TO turnpike_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON audit_entries TO turnpike_jobs;

ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY within_organization ON audit_heads FOR SELECT
    USING (organization_id = app.organization_id());
GRANT SELECT ON audit_heads TO turnpike_app;
CREATE POLICY jobs ON audit_heads TO turnpike_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON audit_heads TO turnpike_jobs;

-- Appends to the chain of the organization that the transaction acts in, and to no
-- other. The nil organization is the platform's own chain: sign-ins, operators.
-- Writers of one chain queue on its head.
CREATE FUNCTION app.audit_append(organization uuid, body text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    platform CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    head audit_heads;
    written timestamptz := date_trunc('microseconds', clock_timestamp());
    sealed bytea;
BEGIN
    IF organization IS DISTINCT FROM app.organization_id() AND organization <> platform THEN
        RAISE EXCEPTION 'an audit entry belongs to the organization acted in';
    END IF;
    INSERT INTO audit_heads VALUES (organization, 0, '\x')
        ON CONFLICT (organization_id) DO NOTHING;
    SELECT * INTO head FROM audit_heads WHERE organization_id = organization FOR UPDATE;
    head.seq := head.seq + 1;
    sealed := app.audit_hash(head.hash, organization, head.seq, written, body);
    INSERT INTO audit_entries (organization_id, seq, at, body, hash)
         VALUES (organization, head.seq, written, body, sealed);
    UPDATE audit_heads SET seq = head.seq, hash = sealed WHERE organization_id = organization;
    RETURN head.seq;
END
$$;
ALTER FUNCTION app.audit_append(uuid, text) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.audit_append(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.audit_append(uuid, text) TO turnpike_app;

-- Where every chain ended, for signing and for checking. A chain whose head is gone is
-- among them, ending before it began. Steps from one organization to the next through
-- the index, for there are many entries and few organizations.
CREATE FUNCTION app.audit_chains()
    RETURNS TABLE (organization_id uuid, seq bigint, hash bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH RECURSIVE written (organization_id) AS (
        (SELECT e.organization_id FROM audit_entries e ORDER BY e.organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.organization_id FROM audit_entries e
                 WHERE e.organization_id > written.organization_id
                 ORDER BY e.organization_id LIMIT 1)
          FROM written WHERE written.organization_id IS NOT NULL
    ), known AS (
        SELECT organization_id FROM written WHERE organization_id IS NOT NULL
        UNION
        SELECT organization_id FROM audit_heads
    )
    SELECT k.organization_id, coalesce(h.seq, 0), coalesce(h.hash, '\x')
      FROM known k LEFT JOIN audit_heads h USING (organization_id)
     ORDER BY k.organization_id
$$;
ALTER FUNCTION app.audit_chains() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.audit_chains() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.audit_chains() TO turnpike_app;

-- A page of any chain, for checking.
CREATE FUNCTION app.audit_page(organization uuid, after bigint, most integer)
    RETURNS TABLE (seq bigint, at timestamptz, body text, hash bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT seq, at, body, hash FROM audit_entries
     WHERE organization_id = organization AND seq > after ORDER BY seq LIMIT least(most, 1000)
$$;
ALTER FUNCTION app.audit_page(uuid, bigint, integer) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.audit_page(uuid, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.audit_page(uuid, bigint, integer) TO turnpike_app;
