-- Whether the books agree: what was compared, and every difference that was found.
CREATE TABLE reconciliations (
    run         bigint      NOT NULL,
    -- `counters`, `windows`, `hours`, `days`, `costs`, `rounding`.
    equality    text        NOT NULL,
    began_at    timestamptz NOT NULL,
    -- Whether all days were compared, or the latest and one of the others.
    is_whole    boolean     NOT NULL,
    -- The two numbers, in nano-dollars.
    left_sum    numeric     NOT NULL,
    right_sum   numeric     NOT NULL,
    -- How many amounts differ; the first of them are kept below.
    differs     bigint      NOT NULL,
    -- What could not be compared, in words.
    left_out    text,
    PRIMARY KEY (equality, run)
);
CREATE INDEX reconciliations_run ON reconciliations (run);
CREATE TABLE reconciliation_differences (
    run         bigint  NOT NULL,
    equality    text    NOT NULL,
    place       integer NOT NULL,
    -- The tables, or the table and the key in Redis.
    in_table    text    NOT NULL,
    row_key     text    NOT NULL,
    amount      text    NOT NULL,
    left_value  numeric NOT NULL,
    right_value numeric NOT NULL,
    PRIMARY KEY (equality, run, place),
    FOREIGN KEY (equality, run) REFERENCES reconciliations ON DELETE CASCADE
);
CREATE SEQUENCE reconciliation_runs;
GRANT SELECT, INSERT, DELETE ON reconciliations, reconciliation_differences TO turnpike_app;
GRANT USAGE ON SEQUENCE reconciliation_runs TO turnpike_app;

-- The days of which there is any usage.
CREATE FUNCTION app.used_days() RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT DISTINCT substring(c.relname FROM 7)::date
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'public.usage_events'::regclass
$$;

-- The sums of a day, in nano-dollars but for `picos`.
CREATE FUNCTION app.sums_of_day(of date) RETURNS TABLE (
    events numeric, nanos numeric, picos numeric, line_nanos numeric, hours numeric, days numeric,
    counted numeric, windows numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH told AS (
        SELECT count(*) AS events, sum(cost_nano) AS nanos, sum(cost_pico) AS picos,
               sum((SELECT sum(cost_nano) FROM app.usage_lines(lines))) AS lines,
               sum((SELECT sum(money) FROM app.usage_counted(counted))) AS counted
          FROM usage_events WHERE billed_at >= of AND billed_at < of + 1
    )
    SELECT events, coalesce(nanos, 0), coalesce(picos, 0), coalesce(lines, 0),
           coalesce((SELECT sum(cost_nano) FROM usage_hours WHERE hour >= of AND hour < of + 1), 0),
           coalesce((SELECT sum(cost_nano) FROM usage_days WHERE day = of), 0),
           coalesce(counted, 0),
           coalesce((SELECT sum(money) FROM budget_windows WHERE day = of), 0)
      FROM told
$$;

-- What differs on a day between events and what is summed up of them by the hour. `ours` is what
-- the events say, `theirs` what stands in the table.
CREATE FUNCTION app.differing_hours(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH a AS (
        SELECT e.organization_id, date_trunc('hour', e.billed_at) AS hour, e.project_id, e.team_id,
               e.key_id, coalesce(l.provider, '') AS provider, coalesce(l.model, '') AS model,
               coalesce(l.usage_source, 'none') AS usage_source,
               coalesce(sum(l.calls), 0) AS calls,
               coalesce(sum(l.input), 0) AS input,
               coalesce(sum(l.cached_input), 0) AS cached_input,
               coalesce(sum(l.cache_write), 0) AS cache_write,
               coalesce(sum(l.cache_write_1h), 0) AS cache_write_1h,
               coalesce(sum(l.output), 0) AS output,
               coalesce(sum(l.reasoning), 0) AS reasoning,
               coalesce(sum(l.audio_input), 0) AS audio_input,
               coalesce(sum(l.cached_audio_input), 0) AS cached_audio_input,
               coalesce(sum(l.audio_output), 0) AS audio_output,
               coalesce(sum(l.image_output_tokens), 0) AS image_output_tokens,
               coalesce(sum(l.image_output), 0) AS image_output,
               coalesce(sum(l.searches), 0) AS searches,
               coalesce(sum(l.cost_pico), 0) AS cost_pico,
               coalesce(sum(l.cost_nano), 0) AS cost_nano
          FROM usage_events e, app.usage_lines(e.lines) l
         WHERE e.billed_at >= of AND e.billed_at < of + 1
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ), b AS (SELECT * FROM usage_hours WHERE hour >= of AND hour < of + 1)
    SELECT concat_ws(' ', 'organization=' || coalesce(a.organization_id, b.organization_id),
               'hour=' || to_char(coalesce(a.hour, b.hour), 'YYYY-MM-DD"T"HH24:MI"Z"'),
               'project=' || coalesce(a.project_id, b.project_id),
               'team=' || coalesce(a.team_id, b.team_id),
               'key=' || coalesce(a.key_id, b.key_id),
               'provider=' || coalesce(a.provider, b.provider),
               'model=' || coalesce(a.model, b.model),
               'source=' || coalesce(a.usage_source, b.usage_source)),
           v.amount, coalesce(v.ours, 0), coalesce(v.theirs, 0)
      FROM a FULL JOIN b
        ON (a.organization_id, a.hour, a.project_id, coalesce(a.team_id::text, ''), a.key_id, a.provider,
            a.model, a.usage_source)
         = (b.organization_id, b.hour, b.project_id, coalesce(b.team_id::text, ''), b.key_id, b.provider,
            b.model, b.usage_source),
           LATERAL (VALUES
               ('calls', a.calls, b.calls), ('input', a.input, b.input),
               ('cached_input', a.cached_input, b.cached_input),
               ('cache_write', a.cache_write, b.cache_write),
               ('cache_write_1h', a.cache_write_1h, b.cache_write_1h),
               ('output', a.output, b.output), ('reasoning', a.reasoning, b.reasoning),
               ('audio_input', a.audio_input, b.audio_input),
               ('cached_audio_input', a.cached_audio_input, b.cached_audio_input),
               ('audio_output', a.audio_output, b.audio_output),
               ('image_output_tokens', a.image_output_tokens, b.image_output_tokens),
               ('image_output', a.image_output, b.image_output),
               ('searches', a.searches, b.searches), ('cost_pico', a.cost_pico, b.cost_pico),
               ('cost_nano', a.cost_nano, b.cost_nano)
           ) AS v (amount, ours, theirs)
     WHERE coalesce(v.ours, 0) <> coalesce(v.theirs, 0)
$$;

-- The same between hours and days.
CREATE FUNCTION app.differing_days(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH a AS (
        SELECT organization_id, date_trunc('day', hour) AS day, project_id, team_id, key_id,
               provider, model, usage_source,
               sum(calls) AS calls,
               sum(input) AS input,
               sum(cached_input) AS cached_input,
               sum(cache_write) AS cache_write,
               sum(cache_write_1h) AS cache_write_1h,
               sum(output) AS output,
               sum(reasoning) AS reasoning,
               sum(audio_input) AS audio_input,
               sum(cached_audio_input) AS cached_audio_input,
               sum(audio_output) AS audio_output,
               sum(image_output_tokens) AS image_output_tokens,
               sum(image_output) AS image_output,
               sum(searches) AS searches,
               sum(cost_pico) AS cost_pico,
               sum(cost_nano) AS cost_nano
          FROM usage_hours WHERE hour >= of AND hour < of + 1
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ), b AS (SELECT * FROM usage_days WHERE day = of)
    SELECT concat_ws(' ', 'organization=' || coalesce(a.organization_id, b.organization_id),
               'day=' || to_char(coalesce(a.day, b.day), 'YYYY-MM-DD"T"HH24:MI"Z"'),
               'project=' || coalesce(a.project_id, b.project_id),
               'team=' || coalesce(a.team_id, b.team_id),
               'key=' || coalesce(a.key_id, b.key_id),
               'provider=' || coalesce(a.provider, b.provider),
               'model=' || coalesce(a.model, b.model),
               'source=' || coalesce(a.usage_source, b.usage_source)),
           v.amount, coalesce(v.ours, 0), coalesce(v.theirs, 0)
      FROM a FULL JOIN b
        ON (a.organization_id, a.day, a.project_id, coalesce(a.team_id::text, ''), a.key_id, a.provider,
            a.model, a.usage_source)
         = (b.organization_id, b.day, b.project_id, coalesce(b.team_id::text, ''), b.key_id, b.provider,
            b.model, b.usage_source),
           LATERAL (VALUES
               ('calls', a.calls, b.calls), ('input', a.input, b.input),
               ('cached_input', a.cached_input, b.cached_input),
               ('cache_write', a.cache_write, b.cache_write),
               ('cache_write_1h', a.cache_write_1h, b.cache_write_1h),
               ('output', a.output, b.output), ('reasoning', a.reasoning, b.reasoning),
               ('audio_input', a.audio_input, b.audio_input),
               ('cached_audio_input', a.cached_audio_input, b.cached_audio_input),
               ('audio_output', a.audio_output, b.audio_output),
               ('image_output_tokens', a.image_output_tokens, b.image_output_tokens),
               ('image_output', a.image_output, b.image_output),
               ('searches', a.searches, b.searches), ('cost_pico', a.cost_pico, b.cost_pico),
               ('cost_nano', a.cost_nano, b.cost_nano)
           ) AS v (amount, ours, theirs)
     WHERE coalesce(v.ours, 0) <> coalesce(v.theirs, 0)
$$;

-- The same between what events say that budgets were told, and what is summed up of it.
CREATE FUNCTION app.differing_windows(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH a AS (
        SELECT e.organization_id, c.budget AS budget_id, c.window, sum(c.money) AS money,
               sum(c.requests) AS requests, sum(c.tokens) AS tokens
          FROM usage_events e, app.usage_counted(e.counted) c
         WHERE e.billed_at >= of AND e.billed_at < of + 1
         GROUP BY 1, 2, 3
    ), b AS (SELECT * FROM budget_windows WHERE day = of)
    SELECT concat_ws(' ', 'organization=' || coalesce(a.organization_id, b.organization_id),
               'budget=' || coalesce(a.budget_id, b.budget_id),
               'window=' || coalesce(a.window, b.window), 'day=' || of),
           v.amount, coalesce(v.ours, 0), coalesce(v.theirs, 0)
      FROM a FULL JOIN b ON (a.organization_id, a.budget_id, a.window)
                          = (b.organization_id, b.budget_id, b.window),
           LATERAL (VALUES ('money', a.money, b.money), ('requests', a.requests, b.requests),
                           ('tokens', a.tokens, b.tokens)) AS v (amount, ours, theirs)
     WHERE coalesce(v.ours, 0) <> coalesce(v.theirs, 0)
$$;

-- Events that are not what their lines come to. `ours` is what the lines say.
CREATE FUNCTION app.differing_costs(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT concat_ws(' ', 'request=' || e.request_id, 'organization=' || e.organization_id),
           v.amount, v.ours, v.theirs
      FROM usage_events e,
           LATERAL (SELECT coalesce(sum(cost_pico), 0) AS pico, coalesce(sum(cost_nano), 0) AS nano
                      FROM app.usage_lines(e.lines)) l,
           LATERAL (VALUES ('cost_pico', l.pico, e.cost_pico), ('cost_nano', l.nano, e.cost_nano),
                           ('cost_nano', ceil(l.pico / 1000), e.cost_nano))
               AS v (amount, ours, theirs)
     WHERE e.billed_at >= of AND e.billed_at < of + 1 AND v.ours <> v.theirs
$$;

-- What each budget of some organizations was told in each window.
CREATE FUNCTION app.window_sums(organizations uuid[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT budget_id, "window", sum(money)::bigint, sum(requests)::bigint, sum(tokens)::bigint
      FROM budget_windows WHERE organization_id = ANY (organizations)
     GROUP BY 1, 2
$$;

-- Of what was settled after a store was read, what budgets were told: `known` is the last of
-- each epoch that it had counted.
CREATE FUNCTION app.counted_since(of smallint, epochs bigint[], known bigint[])
    RETURNS TABLE (budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.budget, c.window, sum(c.money)::bigint, sum(c.requests)::bigint, sum(c.tokens)::bigint
      FROM usage_watermarks w
      LEFT JOIN unnest(epochs, known) AS k (epoch, number) ON k.epoch = w.epoch
      JOIN usage_events e ON e.shard = w.shard AND e.epoch = w.epoch AND e.billed_at >= w.since
                         AND e.number > coalesce(k.number, 0),
           app.usage_counted(e.counted) c
     WHERE w.shard = of AND w.highest > coalesce(k.number, 0)
     GROUP BY 1, 2
$$;

-- Which of those events are in the database.
CREATE FUNCTION app.known_usage(requests uuid[], billed timestamptz[]) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT e.request_id FROM usage_events e
      JOIN unnest(requests, billed) AS t (request_id, billed_at)
        ON (e.request_id, e.billed_at) = (t.request_id, t.billed_at)
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'app.used_days()', 'app.sums_of_day(date)', 'app.differing_hours(date)',
        'app.differing_days(date)', 'app.differing_windows(date)', 'app.differing_costs(date)',
        'app.window_sums(uuid[])', 'app.counted_since(smallint, bigint[], bigint[])',
        'app.known_usage(uuid[], timestamptz[])']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
