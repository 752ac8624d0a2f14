CREATE TABLE teams (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT teams_name UNIQUE (organization_id, name)
);
CALL app.belongs_to_organization('teams');

CREATE TABLE team_members (
    organization_id uuid NOT NULL,
    team_id         uuid NOT NULL,
    person_id       uuid NOT NULL,
    PRIMARY KEY (organization_id, team_id, person_id),
    FOREIGN KEY (organization_id, team_id)   REFERENCES teams ON DELETE CASCADE,
    -- Whoever leaves the organization leaves its teams.
    FOREIGN KEY (organization_id, person_id) REFERENCES memberships ON DELETE CASCADE
);
CALL app.belongs_to_organization('team_members');

CREATE TABLE projects (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    team_id         uuid,
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT projects_name UNIQUE (organization_id, name),
    FOREIGN KEY (organization_id, team_id) REFERENCES teams
);
CALL app.belongs_to_organization('projects');
CREATE POLICY jobs ON projects FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON projects TO turnpike_jobs;
