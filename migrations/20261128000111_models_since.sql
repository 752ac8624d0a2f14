-- Since when a model is served at its place. Of those that are there already nobody knows.
ALTER TABLE upstream_models ADD created_at timestamptz;
ALTER TABLE upstream_models ALTER created_at SET DEFAULT now();

-- As proxies read a model, with the price that is in force.
CREATE OR REPLACE FUNCTION app.model_of(m upstream_models) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'name', m.name, 'upstream_name', m.upstream_name, 'display_name', m.display_name,
        'context_length', m.context_length, 'max_output_tokens', m.max_output_tokens,
        'capabilities', m.capabilities, 'input', m.input, 'output', m.output,
        'deprecated_on', m.deprecated_on, 'successor', m.successor,
        'created', extract(epoch FROM m.created_at)::bigint,
        'price', (SELECT CASE WHEN p.price IS NOT NULL
                              THEN jsonb_build_object('revision', p.revision, 'price', p.price) END
                    FROM model_prices p
                   WHERE (p.owner, p.upstream_id, p.model) = (m.owner, m.upstream_id, m.name)
                   ORDER BY p.revision DESC LIMIT 1))
$$;
