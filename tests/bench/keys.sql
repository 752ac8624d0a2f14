-- Brings the oldest organization to $1 API keys, like the first that it has. Nobody has
-- their secrets: they are there to be looked through. Says how many were made.
WITH
  first AS (SELECT k FROM api_keys k ORDER BY k.created_at, k.id LIMIT 1),
  missing AS (
    SELECT gen_random_uuid() AS id, 'bench ' || nth AS name
      FROM generate_series(1, $1 - (SELECT count(*) FROM api_keys)) nth
  ),
  made AS (
    INSERT INTO api_keys
    SELECT (jsonb_populate_record(k, jsonb_build_object('id', missing.id, 'name', missing.name))).*
      FROM first, missing
    RETURNING organization_id, id
  ),
  secrets AS (
    INSERT INTO api_key_secrets (organization_id, key_id, hash, hint)
    SELECT organization_id, id, sha256(uuid_send(id)), 'tpk_live_bench000…0000' FROM made
    RETURNING 1
  )
SELECT count(*) FROM secrets
