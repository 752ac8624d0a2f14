-- Organizations, who is in them, and who was asked to come.

CREATE TABLE organizations (
    id                     uuid        PRIMARY KEY,
    slug                   text        NOT NULL UNIQUE
                                       CHECK (slug ~ '^[a-z0-9](-?[a-z0-9]){1,47}$'),
    name                   text        NOT NULL,
    time_zone              text        NOT NULL DEFAULT 'UTC',
    requires_second_factor boolean     NOT NULL DEFAULT false,
    setup_dismissed_at     timestamptz,
    archived_at            timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
    organization_id uuid        NOT NULL REFERENCES organizations,
    person_id       uuid        NOT NULL REFERENCES people,
    role            text        NOT NULL
                                CHECK (role IN ('owner', 'admin', 'billing', 'developer', 'viewer')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, person_id)
);
CREATE INDEX memberships_person ON memberships (person_id);

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY within_organization ON organizations
    USING (id = app.organization_id()) WITH CHECK (id = app.organization_id());
-- A person sees the organizations they are a member of, to choose one.
CREATE POLICY of_its_members ON organizations FOR SELECT
    USING (EXISTS (SELECT FROM memberships
                    WHERE memberships.organization_id = organizations.id
                      AND memberships.person_id = app.person_id()));
GRANT SELECT, INSERT, UPDATE ON organizations TO turnpike_app;
CREATE POLICY jobs ON organizations FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON organizations TO turnpike_jobs;

CALL app.belongs_to_organization('memberships');
CREATE POLICY of_the_person ON memberships FOR SELECT USING (person_id = app.person_id());
CREATE POLICY jobs ON memberships FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON memberships TO turnpike_jobs;

-- At the end of each transaction an organization with members has an owner among
-- them. Two owners who demote each other at once meet here: the second waits for the
-- first, sees what it did, and is refused.
CREATE FUNCTION app.keep_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.role <> 'owner' OR (TG_OP = 'UPDATE' AND NEW.role = 'owner') THEN
        RETURN NULL;
    END IF;
    PERFORM FROM organizations WHERE id = OLD.organization_id FOR UPDATE;
    IF NOT EXISTS (SELECT FROM memberships
                    WHERE organization_id = OLD.organization_id AND role = 'owner') THEN
        RAISE EXCEPTION 'an organization keeps at least one owner'
              USING ERRCODE = 'TP001';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_an_owner AFTER UPDATE OF role OR DELETE ON memberships
    FOR EACH ROW EXECUTE FUNCTION app.keep_an_owner();

CREATE TABLE invitations (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    email           text        NOT NULL CHECK (email = lower(email)),
    role            text        NOT NULL
                                CHECK (role IN ('owner', 'admin', 'billing', 'developer', 'viewer')),
    token_hash      bytea       NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    invited_by      uuid        NOT NULL REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    accepted_at     timestamptz,
    revoked_at      timestamptz,
    PRIMARY KEY (organization_id, id)
);
-- One open invitation an address.
CREATE UNIQUE INDEX invitations_open ON invitations (organization_id, email)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;

CALL app.belongs_to_organization('invitations');
CREATE POLICY jobs ON invitations FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON invitations TO turnpike_jobs;

-- Whoever holds the link may know which organization it is for, before they are in it.
CREATE FUNCTION app.invitation_by_token(hash bytea)
    RETURNS TABLE (organization_id uuid, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT organization_id, id FROM invitations WHERE token_hash = hash
$$;
ALTER FUNCTION app.invitation_by_token(bytea) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.invitation_by_token(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.invitation_by_token(bytea) TO turnpike_app;
