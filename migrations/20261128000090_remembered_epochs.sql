-- Which processes of proxies are looked at one by one when a store of counters is healed, or
-- compared: those that settled something lately. What older ones did is in what is summed up.
-- Who puts back a store that lost everything says the numbers of these only, and so whoever
-- looks at it later asks for no others.
CREATE FUNCTION app.is_remembered(seen_at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT seen_at > now() - interval '35 days'
$$;

CREATE OR REPLACE FUNCTION app.counted_beyond(of smallint, epochs bigint[], known bigint[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.budget, c.window, sum(c.money)::bigint, sum(c.requests)::bigint, sum(c.tokens)::bigint
      FROM usage_watermarks w
      LEFT JOIN unnest(epochs, known) AS k (epoch, number) ON k.epoch = w.epoch
      JOIN usage_events e ON e.shard = w.shard AND e.epoch = w.epoch AND e.billed_at >= w.since
                         AND e.number > coalesce(k.number, 0) AND e.number <= w.last,
           app.usage_counted(e.counted) c
     WHERE w.shard = of AND w.last > coalesce(k.number, 0) AND app.is_remembered(w.seen_at)
     GROUP BY 1, 2 ORDER BY 1, 2
$$;

CREATE OR REPLACE FUNCTION app.counted_since(of smallint, epochs bigint[], known bigint[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.budget, c.window, sum(c.money)::bigint, sum(c.requests)::bigint, sum(c.tokens)::bigint
      FROM usage_watermarks w
      LEFT JOIN unnest(epochs, known) AS k (epoch, number) ON k.epoch = w.epoch
      JOIN usage_events e ON e.shard = w.shard AND e.epoch = w.epoch AND e.billed_at >= w.since
                         AND e.number > coalesce(k.number, 0),
           app.usage_counted(e.counted) c
     WHERE w.shard = of AND w.highest > coalesce(k.number, 0) AND app.is_remembered(w.seen_at)
     GROUP BY 1, 2
$$;

-- Processes that hold something in a shard, as long as its store was not lost: whom one waits for
-- when it is.
CREATE TABLE counter_epochs (
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 255),
    epoch bigint   NOT NULL,
    PRIMARY KEY (shard, epoch)
);
GRANT SELECT, INSERT, DELETE ON counter_epochs TO turnpike_app;
