-- Keys that were revoked of late, so that proxies can tell whoever still sends one.

CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;

-- With those of their secrets that opened them until then. Who revoked them is told by their
-- relation to the key, and not by name.
CREATE VIEW app.revoked_keys AS
    SELECT k.organization_id, k.id, k.revoked_at,
           CASE WHEN k.revoked_by IS NULL THEN 'program'
                WHEN k.revoked_by = k.owner_id THEN 'owner'
                ELSE 'member' END AS revoked_by,
           (SELECT array_agg(s.hash ORDER BY s.hash) FROM api_key_secrets s
             WHERE (s.organization_id, s.key_id) = (k.organization_id, k.id)
               AND (s.valid_until IS NULL OR s.valid_until > k.revoked_at)) AS hashes
      FROM api_keys k
      JOIN organizations o ON o.id = k.organization_id
     WHERE k.revoked_at > now() - interval '30 days' AND o.archived_at IS NULL;
ALTER VIEW app.revoked_keys OWNER TO turnpike_jobs;

-- Those that are wanted; or of each organization the latest hundred, and ten thousand in all,
-- since it is a courtesy that every proxy has to hold.
CREATE FUNCTION app.snapshot_revoked(wanted uuid[])
    RETURNS TABLE (id uuid, revoked_at timestamptz, revoked_by text, hashes bytea[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF wanted IS NULL THEN
        RETURN QUERY
        SELECT r.id, r.revoked_at, r.revoked_by, r.hashes
          FROM (SELECT k.*, row_number() OVER (PARTITION BY k.organization_id
                                               ORDER BY k.revoked_at DESC, k.id) AS nth
                  FROM app.revoked_keys k) r
         WHERE r.nth <= 100 AND r.hashes IS NOT NULL
         ORDER BY r.revoked_at DESC, r.id
         LIMIT 10000;
    ELSE
        RETURN QUERY
        SELECT k.id, k.revoked_at, k.revoked_by, k.hashes
          FROM app.revoked_keys k WHERE k.id = ANY (wanted) AND k.hashes IS NOT NULL;
    END IF;
END
$$;
ALTER FUNCTION app.snapshot_revoked(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_revoked(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_revoked(uuid[]) TO turnpike_app;

-- Which of a person's organizations a key is in, for links that know the key alone.
CREATE FUNCTION app.place_of_key(key uuid, person uuid) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.slug
      FROM api_keys k
      JOIN organizations o ON o.id = k.organization_id
      JOIN memberships m ON (m.organization_id, m.person_id) = (k.organization_id, $2)
     WHERE k.id = $1
$$;
ALTER FUNCTION app.place_of_key(uuid, uuid) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.place_of_key(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.place_of_key(uuid, uuid) TO turnpike_app;
