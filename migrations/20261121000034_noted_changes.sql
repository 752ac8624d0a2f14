-- What of providers, policies and limits proxies are told of.

CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF
    vendor, dialect, base_url, region, enabled, archived_at
    ON upstreams FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'id');
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON upstream_models
    FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'upstream_id');
-- Trying a connection changes nothing that proxies run.
CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF
    upstream_id, weight, enabled, sealed_secret
    ON provider_credentials FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'upstream_id');
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON policies
    FOR EACH ROW EXECUTE FUNCTION app.note_change('policy', 'id');
CREATE TRIGGER note_change_of_limits AFTER UPDATE OF
    requests_per_minute, tokens_per_minute, concurrent_requests
    ON organizations FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'id');
CREATE TRIGGER note_change_of_limits AFTER INSERT OR UPDATE OF
    requests_per_minute, tokens_per_minute, concurrent_requests
    ON projects FOR EACH ROW EXECUTE FUNCTION app.note_change('project', 'id');

-- The records that what is in the outbox may have changed, whether they still are or
-- not: an entity that has others under it stands for them too.
CREATE FUNCTION app.snapshot_touched() RETURNS TABLE (entity text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH noted AS (SELECT DISTINCT entity, record FROM config_outbox)
    SELECT entity, record FROM noted WHERE entity <> 'person'
    UNION
    SELECT 'key', k.id FROM noted n JOIN api_keys k ON k.owner_id = n.record
     WHERE n.entity = 'person'
    UNION
    SELECT 'key', k.id FROM noted n JOIN projects p ON p.id = n.record
      JOIN api_keys k ON (k.organization_id, k.project_id) = (p.organization_id, p.id)
     WHERE n.entity = 'project'
    UNION
    SELECT 'key', k.id FROM noted n JOIN api_keys k ON k.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'project', p.id FROM noted n JOIN projects p ON p.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'upstream', u.id FROM noted n JOIN upstreams u ON u.organization_id = n.record
     WHERE n.entity = 'organization'
    UNION
    SELECT 'policy', p.id FROM noted n JOIN policies p ON p.organization_id = n.record
     WHERE n.entity = 'organization'
$$;
ALTER FUNCTION app.snapshot_touched() OWNER TO turnpike_jobs;
GRANT SELECT ON config_outbox TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_touched() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_touched() TO turnpike_app;
