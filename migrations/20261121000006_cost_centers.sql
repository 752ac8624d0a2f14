-- Finance's codes, and how a project's costs are split among them.
CREATE TABLE cost_centers (
    organization_id uuid        NOT NULL REFERENCES organizations,
    id              uuid        NOT NULL,
    code            text        NOT NULL,
    name            text        NOT NULL,
    owner_id        uuid,
    valid_from      date        NOT NULL,
    -- The first day on which it no longer receives costs.
    valid_until     date,
    archived_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT cost_centers_code UNIQUE (organization_id, code),
    CONSTRAINT cost_centers_validity CHECK (valid_until > valid_from),
    FOREIGN KEY (organization_id, owner_id) REFERENCES memberships ON DELETE SET NULL (owner_id)
);
CALL app.belongs_to_organization('cost_centers');

-- How a project's costs are split from a day on, until the day of its next split.
CREATE TABLE project_splits (
    organization_id uuid NOT NULL,
    project_id      uuid NOT NULL,
    effective_from  date NOT NULL,
    PRIMARY KEY (organization_id, project_id, effective_from),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects
);
CALL app.belongs_to_organization('project_splits');

-- What the shares leave of 10,000 basis points is unallocated: all of it where a split
-- has none.
CREATE TABLE project_split_shares (
    organization_id uuid    NOT NULL,
    project_id      uuid    NOT NULL,
    effective_from  date    NOT NULL,
    cost_center_id  uuid    NOT NULL,
    basis_points    integer NOT NULL CHECK (basis_points BETWEEN 1 AND 10000),
    PRIMARY KEY (organization_id, project_id, effective_from, cost_center_id),
    FOREIGN KEY (organization_id, project_id, effective_from)
        REFERENCES project_splits ON DELETE CASCADE,
    FOREIGN KEY (organization_id, cost_center_id) REFERENCES cost_centers
);
CREATE INDEX project_split_shares_center
    ON project_split_shares (organization_id, cost_center_id);
CALL app.belongs_to_organization('project_split_shares');

CREATE FUNCTION app.split_at_most_the_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM projects
      WHERE organization_id = NEW.organization_id AND id = NEW.project_id FOR UPDATE;
    IF (SELECT sum(basis_points) FROM project_split_shares
         WHERE organization_id = NEW.organization_id AND project_id = NEW.project_id
           AND effective_from = NEW.effective_from) > 10000 THEN
        RAISE EXCEPTION 'a split shares out at most the whole' USING ERRCODE = 'TP002';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER split_at_most_the_whole
    AFTER INSERT OR UPDATE ON project_split_shares DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.split_at_most_the_whole();
