-- What models cost. A price is never changed: another one is put after it, and the newest
-- is in force. Calls name the revision that they were charged by.

CREATE TABLE model_prices (
    organization_id uuid        REFERENCES organizations,
    owner           uuid        NOT NULL GENERATED ALWAYS AS
        (coalesce(organization_id, '00000000-0000-0000-0000-000000000000')) STORED,
    upstream_id     uuid        NOT NULL,
    -- As callers say it. The model may be gone, and come back: its prices stay.
    model           text        NOT NULL,
    revision        bigint      NOT NULL CHECK (revision > 0),
    -- Nothing where the model has no price from then on.
    price           jsonb,
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, upstream_id, model, revision),
    FOREIGN KEY (owner, upstream_id) REFERENCES upstreams (owner, id)
);
CALL app.belongs_to_owner('model_prices');
-- What was, stays.
REVOKE UPDATE, DELETE ON model_prices FROM turnpike_app;
CREATE POLICY platforms ON model_prices FOR SELECT USING (organization_id IS NULL);
CREATE POLICY jobs ON model_prices FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON model_prices TO turnpike_jobs;
CREATE TRIGGER note_change AFTER INSERT ON model_prices
    FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'upstream_id');

-- As proxies read a model, with the price that is in force.
CREATE OR REPLACE FUNCTION app.model_of(m upstream_models) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'name', m.name, 'upstream_name', m.upstream_name, 'display_name', m.display_name,
        'context_length', m.context_length, 'max_output_tokens', m.max_output_tokens,
        'capabilities', m.capabilities, 'input', m.input, 'output', m.output,
        'deprecated_on', m.deprecated_on, 'successor', m.successor,
        'price', (SELECT CASE WHEN p.price IS NOT NULL
                              THEN jsonb_build_object('revision', p.revision, 'price', p.price) END
                    FROM model_prices p
                   WHERE (p.owner, p.upstream_id, p.model) = (m.owner, m.upstream_id, m.name)
                   ORDER BY p.revision DESC LIMIT 1))
$$;

-- What a project is part of and who bears its costs matter to its calls, since budgets are
-- on teams and cost centers too.
DROP FUNCTION app.snapshot_projects(uuid[]);
CREATE FUNCTION app.snapshot_projects(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, team_id uuid
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT p.id, p.organization_id, p.requests_per_minute, p.tokens_per_minute,
           p.concurrent_requests, p.team_id
      FROM projects p JOIN organizations o ON o.id = p.organization_id
     WHERE o.archived_at IS NULL AND p.archived_at IS NULL
       AND ((p.requests_per_minute, p.tokens_per_minute, p.concurrent_requests, p.team_id)
            IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer, NULL::uuid)
            OR EXISTS (SELECT FROM project_splits s
                        WHERE (s.organization_id, s.project_id) = (p.organization_id, p.id)))
       AND (ids IS NULL OR p.id = ANY (ids))
     ORDER BY p.id
$$;
ALTER FUNCTION app.snapshot_projects(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_projects(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_projects(uuid[]) TO turnpike_app;

-- The splits of those projects, one row for each share, or one without where a split has
-- none: those in force on the day before, which is still going on somewhere, and the later
-- ones. With each share, when its cost center receives.
CREATE FUNCTION app.snapshot_splits(ids uuid[])
    RETURNS TABLE (
        project_id uuid, effective_from date, time_zone text, cost_center_id uuid,
        basis_points integer, valid_from date, valid_until date, archived_at timestamptz
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT s.project_id, s.effective_from, o.time_zone, h.cost_center_id, h.basis_points,
           c.valid_from, c.valid_until, c.archived_at
      FROM project_splits s
      JOIN organizations o ON o.id = s.organization_id
      LEFT JOIN project_split_shares h
           ON (h.organization_id, h.project_id, h.effective_from)
              = (s.organization_id, s.project_id, s.effective_from)
      LEFT JOIN cost_centers c
           ON (c.organization_id, c.id) = (h.organization_id, h.cost_center_id)
     WHERE s.project_id = ANY (ids)
       AND s.effective_from >= coalesce(
           (SELECT max(b.effective_from) FROM project_splits b
             WHERE (b.organization_id, b.project_id) = (s.organization_id, s.project_id)
               AND b.effective_from < (now() AT TIME ZONE 'UTC')::date), '-infinity')
     ORDER BY s.project_id, s.effective_from, h.cost_center_id
$$;
ALTER FUNCTION app.snapshot_splits(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_splits(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_splits(uuid[]) TO turnpike_app;
CREATE POLICY jobs ON project_splits FOR SELECT TO turnpike_jobs USING (true);
CREATE POLICY jobs ON project_split_shares FOR SELECT TO turnpike_jobs USING (true);
CREATE POLICY jobs ON cost_centers FOR SELECT TO turnpike_jobs USING (true);
GRANT SELECT ON project_splits, project_split_shares, cost_centers TO turnpike_jobs;

DROP TRIGGER note_change_of_limits ON projects;
CREATE TRIGGER note_change_of_terms AFTER INSERT OR UPDATE OF
    requests_per_minute, tokens_per_minute, concurrent_requests, team_id
    ON projects FOR EACH ROW EXECUTE FUNCTION app.note_change('project', 'id');
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON project_splits
    FOR EACH ROW EXECUTE FUNCTION app.note_change('project', 'project_id');
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON project_split_shares
    FOR EACH ROW EXECUTE FUNCTION app.note_change('project', 'project_id');
-- Days begin elsewhere in another zone, and a cost center that receives on other days is
-- in the splits of who knows which projects.
CREATE TRIGGER note_change_of_zone AFTER UPDATE OF time_zone
    ON organizations FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'id');
CREATE TRIGGER note_change AFTER UPDATE OF valid_from, valid_until, archived_at
    ON cost_centers FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'organization_id');
