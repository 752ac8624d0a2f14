-- Events that could not be read, or that the database would not have, as proxies told them. None
-- of them is billed yet, and none is lost: an operator has them tried again. Their proxies need
-- not keep them.
CREATE TABLE usage_aside (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard   smallint    NOT NULL,
    -- What it was called in its stream.
    entry   text        NOT NULL,
    -- Which settlement told it, where that can be read.
    epoch   bigint,
    number  bigint,
    event   bytea       NOT NULL,
    why     text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shard, entry)
);
CREATE UNIQUE INDEX usage_aside_number ON usage_aside (shard, epoch, number);
-- It is of all organizations: the functions below alone reach it.
GRANT SELECT, INSERT, DELETE ON usage_aside TO turnpike_jobs;

CREATE FUNCTION app.put_usage_aside(shards smallint[], entries text[], epochs bigint[],
                                    numbers bigint[], events bytea[], whys text[])
    RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH added AS (
        INSERT INTO usage_aside (shard, entry, epoch, number, event, why)
        SELECT * FROM unnest(shards, entries, epochs, numbers, events, whys)
            ON CONFLICT DO NOTHING
        RETURNING *
    )
    INSERT INTO usage_watermarks AS w (shard, epoch, highest, since)
    SELECT shard, epoch, max(number), now() FROM added WHERE number IS NOT NULL GROUP BY 1, 2
        ON CONFLICT (shard, epoch) DO UPDATE SET
        highest = greatest(w.highest, excluded.highest), seen_at = now()
$$;

-- The first of them behind one.
CREATE FUNCTION app.usage_put_aside(behind bigint, most integer)
    RETURNS TABLE (id bigint, shard smallint, event bytea, why text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT a.id, a.shard, a.event, a.why FROM usage_aside a
     WHERE a.id > behind ORDER BY a.id LIMIT most
$$;

-- That it is among the others.
CREATE FUNCTION app.take_usage_back(taken bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    DELETE FROM usage_aside WHERE id = taken
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.put_usage_aside(smallint[], text[], bigint[], bigint[], bytea[], text[])',
        'app.usage_put_aside(bigint, integer)', 'app.take_usage_back(bigint)']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;

-- Moves watermarks to the last event before which none is missing, and says where they are. One
-- that was put aside is not missing.
CREATE OR REPLACE FUNCTION app.advance_watermarks(shards smallint[], epochs bigint[])
    RETURNS TABLE (shard smallint, epoch bigint, last bigint, highest bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE
    mark usage_watermarks;
    reached bigint;
BEGIN
    FOR mark IN
        SELECT w.* FROM usage_watermarks w
          JOIN unnest(shards, epochs) AS t (shard, epoch)
            ON (w.shard, w.epoch) = (t.shard, t.epoch)
         WHERE w.last < w.highest
    LOOP
        -- Looked for first: where it is missing, nothing behind it needs to be counted.
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM usage_events e
             WHERE e.shard = mark.shard AND e.epoch = mark.epoch AND e.number = mark.last + 1
               AND e.billed_at >= mark.since)
            AND NOT EXISTS (
            SELECT FROM usage_aside a
             WHERE a.shard = mark.shard AND a.epoch = mark.epoch AND a.number = mark.last + 1);
        SELECT max(n.number) INTO reached
          FROM (SELECT a.number, row_number() OVER (ORDER BY a.number) AS nth
                  FROM (SELECT e.number FROM usage_events e
                         WHERE e.shard = mark.shard AND e.epoch = mark.epoch
                           AND e.number > mark.last AND e.billed_at >= mark.since
                         UNION
                        SELECT a.number FROM usage_aside a
                         WHERE a.shard = mark.shard AND a.epoch = mark.epoch
                           AND a.number > mark.last) a) n
         WHERE n.number = mark.last + n.nth;
        UPDATE usage_watermarks w SET last = reached
         WHERE w.shard = mark.shard AND w.epoch = mark.epoch;
    END LOOP;
    RETURN QUERY
        SELECT w.shard, w.epoch, w.last, w.highest FROM usage_watermarks w
          JOIN unnest(shards, epochs) AS t (shard, epoch)
            ON (w.shard, w.epoch) = (t.shard, t.epoch);
END
$$;
