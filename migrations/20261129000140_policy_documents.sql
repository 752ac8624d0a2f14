-- What a policy says is a document: rules, and what decides where none does. Tiers alone are the
-- simplest. It is drafted before it is published, and may be published to some calls first.

-- Row security hides other tenants' rows from an UPDATE here, and none from another type.
ALTER TABLE policy_versions
    ALTER COLUMN tiers TYPE jsonb
    USING jsonb_build_object('otherwise', jsonb_build_object('tiers', tiers));
ALTER TABLE policy_versions RENAME COLUMN tiers TO document;

-- One a policy, for whoever may change it.
CREATE TABLE policy_drafts (
    organization_id uuid        REFERENCES organizations,
    owner           uuid        NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    policy_id       uuid        NOT NULL,
    -- The version that was in force when it was begun.
    based_on        integer     NOT NULL CHECK (based_on > 0),
    name            text        NOT NULL,
    document        jsonb       NOT NULL,
    note            text        NOT NULL,
    saved_by        uuid        REFERENCES people,
    saved_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, policy_id),
    FOREIGN KEY (owner, policy_id) REFERENCES policies (owner, id)
);
CALL app.belongs_to_owner('policy_drafts');

-- A version that some of the calls get before all do.
ALTER TABLE policies
    ADD COLUMN staged_version integer,
    ADD COLUMN staged_percent smallint CHECK (staged_percent BETWEEN 1 AND 99),
    ADD COLUMN staged_by      text     CHECK (staged_by IN ('calls', 'keys')),
    ADD CONSTRAINT policies_staged_whole
        CHECK (num_nulls(staged_version, staged_percent, staged_by) IN (0, 3)),
    ADD CONSTRAINT policies_staged_newer CHECK (staged_version > version);

-- Every policy that leads somewhere, or those of them that are named.
DROP FUNCTION app.snapshot_policies(uuid[]);
CREATE FUNCTION app.snapshot_policies(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, name text, version integer, document jsonb,
        staged_version integer, staged_document jsonb, staged_percent smallint, staged_by text
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT p.id, p.organization_id, p.name, p.version, v.document,
           p.staged_version, s.document, p.staged_percent, p.staged_by
      FROM policies p
      JOIN policy_versions v ON (v.owner, v.policy_id, v.version) = (p.owner, p.id, p.version)
      LEFT JOIN policy_versions s
             ON (s.owner, s.policy_id, s.version) = (p.owner, p.id, p.staged_version)
      LEFT JOIN organizations o ON o.id = p.organization_id
     WHERE p.archived_at IS NULL AND o.archived_at IS NULL
       AND (ids IS NULL OR p.id = ANY (ids))
     ORDER BY p.id
$$;
ALTER FUNCTION app.snapshot_policies(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_policies(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_policies(uuid[]) TO turnpike_app;
