-- The platform's policies lead everybody's calls: whom another document would leave without a
-- model, and what it would have made of the last calls.

-- Organizations that a policy of the platform's leads, which have none of that name themselves, and
-- that have keys in use which may ask for some models only.
CREATE FUNCTION app.organizations_led_by(called text, most integer)
    RETURNS TABLE (id uuid, name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.name
      FROM organizations o
     WHERE o.archived_at IS NULL
       AND NOT EXISTS (SELECT FROM policies p
                        WHERE p.organization_id = o.id AND p.name = called
                          AND p.archived_at IS NULL)
       AND EXISTS (SELECT FROM api_keys k
                    WHERE k.organization_id = o.id AND k.allowed_models IS NOT NULL
                      AND k.revoked_at IS NULL
                      AND (k.expires_at IS NULL OR k.expires_at > now()))
     ORDER BY o.id
     LIMIT most
$$;
ALTER FUNCTION app.organizations_led_by(text, integer) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.organizations_led_by(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.organizations_led_by(text, integer) TO turnpike_app;

-- The last calls that a policy of the platform's led: of the organizations that called last, among
-- the last calls of each.
CREATE FUNCTION app.requests_led_by(
        called text, most integer, organizations_looked_at integer, of_each integer
    )
    RETURNS TABLE (event jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT e.event
      FROM (SELECT o.id, l.request_id
              FROM organizations o
             CROSS JOIN LATERAL (SELECT r.request_id FROM request_events r
                                  WHERE r.organization_id = o.id
                                  ORDER BY r.request_id DESC LIMIT 1) l
             WHERE o.archived_at IS NULL
               AND NOT EXISTS (SELECT FROM policies p
                                WHERE p.organization_id = o.id AND p.name = called
                                  AND p.archived_at IS NULL)
             ORDER BY l.request_id DESC
             LIMIT organizations_looked_at) o
     CROSS JOIN LATERAL (SELECT r.request_id, r.event FROM request_events r
                          WHERE r.organization_id = o.id
                          ORDER BY r.request_id DESC LIMIT of_each) e
     WHERE e.event -> 'policy' ->> 'name' = called
     ORDER BY e.request_id DESC
     LIMIT most
$$;
ALTER FUNCTION app.requests_led_by(text, integer, integer, integer) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.requests_led_by(text, integer, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.requests_led_by(text, integer, integer, integer) TO turnpike_app;
