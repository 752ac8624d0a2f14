-- What an upstream's owner knows that its vendor does with what is sent there, and how a model's
-- weights were made smaller. What nobody said is not so, and not known.

ALTER TABLE upstreams
    ADD COLUMN zero_retention boolean NOT NULL DEFAULT false,
    ADD COLUMN no_training    boolean NOT NULL DEFAULT false;
ALTER TABLE upstream_models ADD COLUMN quantization text;

DROP TRIGGER note_change ON upstreams;
CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF
    vendor, dialect, base_url, region, enabled, archived_at,
    first_byte_seconds, idle_seconds, total_seconds, zero_retention, no_training
    ON upstreams FOR EACH ROW EXECUTE FUNCTION app.note_change('upstream', 'id');

CREATE OR REPLACE FUNCTION app.described_model(m upstream_models) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'name', m.name, 'upstream_name', m.upstream_name, 'display_name', m.display_name,
        'context_length', m.context_length, 'max_output_tokens', m.max_output_tokens,
        'capabilities', m.capabilities, 'input', m.input, 'output', m.output,
        'deprecated_on', m.deprecated_on, 'successor', m.successor,
        'created', extract(epoch FROM m.created_at)::bigint,
        'quantization', m.quantization)
$$;

DROP FUNCTION app.snapshot_upstreams(uuid[]);
CREATE FUNCTION app.snapshot_upstreams(ids uuid[])
    RETURNS TABLE (
        id uuid, organization_id uuid, vendor text, dialect text, base_url text, region text,
        models jsonb, credentials uuid[], weights smallint[], sealed_secrets bytea[],
        first_byte_seconds integer, idle_seconds integer, total_seconds integer,
        zero_retention boolean, no_training boolean
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT u.id, u.organization_id, u.vendor, u.dialect, u.base_url, u.region,
           coalesce((SELECT jsonb_agg(app.model_of(m) ORDER BY m.position, m.name)
                       FROM upstream_models m
                      WHERE (m.owner, m.upstream_id) = (u.owner, u.id) AND m.enabled), '[]'),
           array_agg(c.id ORDER BY c.id), array_agg(c.weight ORDER BY c.id),
           array_agg(c.sealed_secret ORDER BY c.id),
           u.first_byte_seconds, u.idle_seconds, u.total_seconds, u.zero_retention, u.no_training
      FROM upstreams u
      LEFT JOIN organizations o ON o.id = u.organization_id
      JOIN provider_credentials c ON (c.owner, c.upstream_id) = (u.owner, u.id) AND c.enabled
     WHERE u.enabled AND u.archived_at IS NULL AND o.archived_at IS NULL
       AND (ids IS NULL OR u.id = ANY (ids))
     GROUP BY u.id
     ORDER BY u.id
$$;
ALTER FUNCTION app.snapshot_upstreams(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_upstreams(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_upstreams(uuid[]) TO turnpike_app;
