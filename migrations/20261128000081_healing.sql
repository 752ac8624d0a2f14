-- What the healer asks of the meter, and which store each shard is in.

-- A shard that was never healed has never counted: nothing can be lost of it yet.
CREATE TABLE counter_shards (
    shard       smallint    NOT NULL PRIMARY KEY CHECK (shard BETWEEN 0 AND 255),
    incarnation bigint      NOT NULL,
    healed_at   timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON counter_shards TO turnpike_app;

-- What the events of some processes were counted for, beyond what a store knows of them and up
-- to where none is missing: `known` is the last that the store counted, for each epoch of which
-- it knows one. Of one budget the earlier window first.
CREATE FUNCTION app.counted_beyond(of smallint, epochs bigint[], known bigint[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.budget, c.window, sum(c.money)::bigint, sum(c.requests)::bigint, sum(c.tokens)::bigint
      FROM usage_watermarks w
      LEFT JOIN unnest(epochs, known) AS k (epoch, number) ON k.epoch = w.epoch
      JOIN usage_events e ON e.shard = w.shard AND e.epoch = w.epoch AND e.billed_at >= w.since
                         AND e.number > coalesce(k.number, 0) AND e.number <= w.last,
           app.usage_counted(e.counted) c
     WHERE w.shard = of AND w.last > coalesce(k.number, 0)
     GROUP BY 1, 2 ORDER BY 1, 2
$$;

-- The same for a store that knows of none, from what is summed up: the two latest windows of
-- each budget, which is all that a store keeps.
CREATE FUNCTION app.counted_in_shard(of smallint, organizations uuid[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH sums AS (
        SELECT budget_id, "window", sum(money) AS money, sum(requests) AS requests,
               sum(tokens) AS tokens,
               row_number() OVER (PARTITION BY budget_id ORDER BY "window" DESC) AS nth
          FROM budget_windows WHERE organization_id = ANY (organizations)
         GROUP BY 1, 2
    ), beyond AS (
        SELECT c.budget, c.window, sum(c.money) AS money, sum(c.requests) AS requests,
               sum(c.tokens) AS tokens
          FROM usage_watermarks w
          JOIN usage_events e ON e.shard = w.shard AND e.epoch = w.epoch
                             AND e.billed_at >= w.since AND e.number > w.last,
               app.usage_counted(e.counted) c
         WHERE w.shard = of AND w.last < w.highest
         GROUP BY 1, 2
    )
    SELECT s.budget_id, s.window, (s.money - coalesce(b.money, 0))::bigint,
           (s.requests - coalesce(b.requests, 0))::bigint,
           (s.tokens - coalesce(b.tokens, 0))::bigint
      FROM sums s LEFT JOIN beyond b ON (b.budget, b.window) = (s.budget_id, s.window)
     WHERE s.nth <= 2
     ORDER BY 1, 2
$$;

-- Whose budgets were ever told anything.
CREATE FUNCTION app.counted_organizations() RETURNS TABLE (organization_id uuid, budget_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT DISTINCT organization_id, budget_id FROM budget_windows
$$;

-- Which of those calls are settled, as far as none of their process is missing before them.
CREATE FUNCTION app.settled_calls(requests uuid[]) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT e.request_id FROM usage_events e
      JOIN usage_watermarks w ON (w.shard, w.epoch) = (e.shard, e.epoch) AND e.number <= w.last
     WHERE e.request_id = ANY (requests)
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.counted_beyond(smallint, bigint[], bigint[])',
        'app.counted_in_shard(smallint, uuid[])', 'app.counted_organizations()',
        'app.settled_calls(uuid[])']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
