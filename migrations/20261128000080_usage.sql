-- What was used and what it cost: one row for each call that was settled, kept for good.
--
-- A row is written once, by `app.add_usage`, and nobody changes or deletes it: not the
-- application, nor the role that the functions run as. What is summed up of the rows is fed in
-- the statement that inserts them, from those that it really inserted: told twice, told late or
-- told again after a crash, a call counts once.

-- Puts a table of the meter under its rule: an organization sees its own rows and changes none.
CREATE PROCEDURE app.metered(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY within_organization ON %s FOR SELECT TO turnpike_app
                        USING (organization_id = app.organization_id())', name);
    EXECUTE format('CREATE POLICY jobs ON %s FOR SELECT TO turnpike_jobs USING (true)', name);
    EXECUTE format('CREATE POLICY jobs_add ON %s FOR INSERT TO turnpike_jobs WITH CHECK (true)',
                   name);
    EXECUTE format('GRANT SELECT ON %s TO turnpike_app', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %s TO turnpike_jobs', name);
END
$$;

CREATE TABLE usage_events (
    -- When the call was let through, by the clock of Redis: what it is billed at.
    billed_at       timestamptz NOT NULL,
    request_id      uuid        NOT NULL,
    -- Which settlement told it: the proxy's process, as the bits of its number, the shard, and
    -- the number there.
    epoch           bigint      NOT NULL,
    shard           smallint    NOT NULL,
    number          bigint      NOT NULL,
    organization_id uuid        NOT NULL,
    project_id      uuid        NOT NULL,
    -- The project's team at the moment of insertion.
    team_id         uuid,
    key_id          uuid        NOT NULL,
    cost_nano       bigint      NOT NULL,
    cost_pico       bigint      NOT NULL,
    -- What `app.usage_lines` reads: one for each attempt that may cost something. A call that
    -- cost nothing has one that says so.
    lines           jsonb       NOT NULL,
    -- What `app.usage_counted` reads: what budgets were told.
    counted         jsonb       NOT NULL,
    outcome         text        NOT NULL,
    status          smallint    NOT NULL,
    usage_source    text        NOT NULL,
    -- So that whatever comes twice collides.
    PRIMARY KEY (request_id, billed_at)
) PARTITION BY RANGE (billed_at);
CREATE INDEX usage_events_number ON usage_events (shard, epoch, number);
CREATE INDEX usage_events_organization ON usage_events (organization_id, billed_at);
CALL app.metered('usage_events');
REVOKE UPDATE ON usage_events FROM turnpike_jobs;

CREATE FUNCTION app.usage_lines(lines jsonb) RETURNS TABLE (
    provider text, model text, usage_source text,
    calls bigint, input bigint, cached_input bigint, cache_write bigint, cache_write_1h bigint, output bigint, reasoning bigint, audio_input bigint, cached_audio_input bigint, audio_output bigint, image_output_tokens bigint, image_output bigint, searches bigint, cost_pico bigint, cost_nano bigint
) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM jsonb_to_recordset(lines) AS l (
        provider text, model text, usage_source text,
        calls bigint,
        input bigint,
        cached_input bigint,
        cache_write bigint,
        cache_write_1h bigint,
        output bigint,
        reasoning bigint,
        audio_input bigint,
        cached_audio_input bigint,
        audio_output bigint,
        image_output_tokens bigint,
        image_output bigint,
        searches bigint,
        cost_pico bigint,
        cost_nano bigint)
$$;

CREATE FUNCTION app.usage_counted(counted jsonb) RETURNS TABLE (
    budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint
) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM jsonb_to_recordset(counted) AS c (
        budget uuid, "window" bigint, money bigint, requests bigint, tokens bigint)
$$;

-- By the hour and by the day, in UTC. Where nothing was used, provider and model may be empty.
CREATE TABLE usage_hours (
    organization_id     uuid        NOT NULL,
    hour                timestamptz NOT NULL,
    project_id          uuid        NOT NULL,
    team_id             uuid,
    key_id              uuid        NOT NULL,
    provider            text        NOT NULL,
    model               text        NOT NULL,
    usage_source        text        NOT NULL,
    calls               bigint NOT NULL,
    input               bigint NOT NULL,
    cached_input        bigint NOT NULL,
    cache_write         bigint NOT NULL,
    cache_write_1h      bigint NOT NULL,
    output              bigint NOT NULL,
    reasoning           bigint NOT NULL,
    audio_input         bigint NOT NULL,
    cached_audio_input  bigint NOT NULL,
    audio_output        bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    image_output        bigint NOT NULL,
    searches            bigint NOT NULL,
    cost_pico           bigint NOT NULL,
    cost_nano           bigint NOT NULL,
    CONSTRAINT usage_hours_key UNIQUE NULLS NOT DISTINCT
        (organization_id, hour, project_id, team_id, key_id, provider, model, usage_source)
) WITH (fillfactor = 70);
CALL app.metered('usage_hours');

CREATE TABLE usage_days (
    organization_id     uuid        NOT NULL,
    day                 timestamptz NOT NULL,
    project_id          uuid        NOT NULL,
    team_id             uuid,
    key_id              uuid        NOT NULL,
    provider            text        NOT NULL,
    model               text        NOT NULL,
    usage_source        text        NOT NULL,
    calls               bigint NOT NULL,
    input               bigint NOT NULL,
    cached_input        bigint NOT NULL,
    cache_write         bigint NOT NULL,
    cache_write_1h      bigint NOT NULL,
    output              bigint NOT NULL,
    reasoning           bigint NOT NULL,
    audio_input         bigint NOT NULL,
    cached_audio_input  bigint NOT NULL,
    audio_output        bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    image_output        bigint NOT NULL,
    searches            bigint NOT NULL,
    cost_pico           bigint NOT NULL,
    cost_nano           bigint NOT NULL,
    CONSTRAINT usage_days_key UNIQUE NULLS NOT DISTINCT
        (organization_id, day, project_id, team_id, key_id, provider, model, usage_source)
) WITH (fillfactor = 70);
CALL app.metered('usage_days');

-- What budgets were told, by the window and, so that it can be compared a day at a time, by the
-- day in UTC that the calls are billed at.
CREATE TABLE budget_windows (
    organization_id uuid   NOT NULL,
    budget_id       uuid   NOT NULL,
    -- When it began, in milliseconds since 1970.
    "window"        bigint NOT NULL,
    day             date   NOT NULL,
    money           bigint NOT NULL,
    requests        bigint NOT NULL,
    tokens          bigint NOT NULL,
    PRIMARY KEY (organization_id, budget_id, "window", day)
) WITH (fillfactor = 70);
CALL app.metered('budget_windows');

CREATE POLICY jobs_sum ON usage_hours FOR UPDATE TO turnpike_jobs USING (true);
CREATE POLICY jobs_sum ON usage_days FOR UPDATE TO turnpike_jobs USING (true);
CREATE POLICY jobs_sum ON budget_windows FOR UPDATE TO turnpike_jobs USING (true);

-- How far the events of proxies' processes have come, in each shard.
CREATE TABLE usage_watermarks (
    shard   smallint    NOT NULL,
    epoch   bigint      NOT NULL,
    -- Up to here none is missing: what the process need not keep.
    last    bigint      NOT NULL DEFAULT 0,
    -- Above `last` where one is missing in between.
    highest bigint      NOT NULL,
    -- None of its events is billed earlier.
    since   timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, epoch)
) WITH (fillfactor = 70);
GRANT SELECT ON usage_watermarks TO turnpike_app;
GRANT SELECT, INSERT, UPDATE ON usage_watermarks TO turnpike_jobs;

-- Partitions are made by the function below, and whoever does that owns the table.
GRANT CREATE ON SCHEMA public TO turnpike_jobs;
ALTER TABLE usage_events OWNER TO turnpike_jobs;
REVOKE CREATE ON SCHEMA public FROM turnpike_jobs;

-- Makes the partitions of those days where they are not there yet.
CREATE FUNCTION app.make_usage_days(first date, last date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '1s' AS $$
DECLARE
    day date;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('usage days'));
    FOR offset_days IN 0 .. last - first LOOP
        day := first + offset_days;
        name := 'usage_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('app.' || name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE app.%I PARTITION OF usage_events FOR VALUES FROM (%L) TO (%L)', name,
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END
$$;
ALTER FUNCTION app.make_usage_days(date, date) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.make_usage_days(date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.make_usage_days(date, date) TO turnpike_app;

-- Adds what proxies settled, whosever it is, and sums it up. Says how many were new.
CREATE FUNCTION app.add_usage(
    billed timestamptz[], requests uuid[], epochs bigint[], shards smallint[], numbers bigint[],
    organizations uuid[], projects uuid[], keys uuid[], nanos bigint[], picos bigint[],
    lines text[], counted text[], outcomes text[], statuses smallint[], sources text[]
) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    WITH added AS (
        INSERT INTO usage_events (billed_at, request_id, epoch, shard, number, organization_id,
                                  project_id, team_id, key_id, cost_nano, cost_pico, lines,
                                  counted, outcome, status, usage_source)
        SELECT t.billed_at, t.request_id, t.epoch, t.shard, t.number, t.organization_id,
               t.project_id, p.team_id, t.key_id, t.cost_nano, t.cost_pico, t.lines, t.counted,
               t.outcome, t.status, t.usage_source
          FROM unnest(billed, requests, epochs, shards, numbers, organizations, projects, keys,
                      nanos, picos, lines::jsonb[], counted::jsonb[], outcomes, statuses, sources)
               AS t (billed_at, request_id, epoch, shard, number, organization_id, project_id,
                     key_id, cost_nano, cost_pico, lines, counted, outcome, status, usage_source)
          LEFT JOIN projects p ON (p.organization_id, p.id) = (t.organization_id, t.project_id)
            ON CONFLICT DO NOTHING
        RETURNING *
    ), by_hour AS (
        SELECT a.organization_id, date_trunc('hour', a.billed_at) AS hour, a.project_id,
               a.team_id, a.key_id, coalesce(l.provider, '') AS provider,
               coalesce(l.model, '') AS model, coalesce(l.usage_source, 'none') AS usage_source,
               coalesce(sum(l.calls), 0)::bigint AS calls,
               coalesce(sum(l.input), 0)::bigint AS input,
               coalesce(sum(l.cached_input), 0)::bigint AS cached_input,
               coalesce(sum(l.cache_write), 0)::bigint AS cache_write,
               coalesce(sum(l.cache_write_1h), 0)::bigint AS cache_write_1h,
               coalesce(sum(l.output), 0)::bigint AS output,
               coalesce(sum(l.reasoning), 0)::bigint AS reasoning,
               coalesce(sum(l.audio_input), 0)::bigint AS audio_input,
               coalesce(sum(l.cached_audio_input), 0)::bigint AS cached_audio_input,
               coalesce(sum(l.audio_output), 0)::bigint AS audio_output,
               coalesce(sum(l.image_output_tokens), 0)::bigint AS image_output_tokens,
               coalesce(sum(l.image_output), 0)::bigint AS image_output,
               coalesce(sum(l.searches), 0)::bigint AS searches,
               coalesce(sum(l.cost_pico), 0)::bigint AS cost_pico,
               coalesce(sum(l.cost_nano), 0)::bigint AS cost_nano
          FROM added a, app.usage_lines(a.lines) l
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ), hours AS (
        INSERT INTO usage_hours AS h SELECT * FROM by_hour
            ON CONFLICT (organization_id, hour, project_id, team_id, key_id, provider, model, usage_source) DO UPDATE SET
            calls = h.calls + excluded.calls,
            input = h.input + excluded.input,
            cached_input = h.cached_input + excluded.cached_input,
            cache_write = h.cache_write + excluded.cache_write,
            cache_write_1h = h.cache_write_1h + excluded.cache_write_1h,
            output = h.output + excluded.output,
            reasoning = h.reasoning + excluded.reasoning,
            audio_input = h.audio_input + excluded.audio_input,
            cached_audio_input = h.cached_audio_input + excluded.cached_audio_input,
            audio_output = h.audio_output + excluded.audio_output,
            image_output_tokens = h.image_output_tokens + excluded.image_output_tokens,
            image_output = h.image_output + excluded.image_output,
            searches = h.searches + excluded.searches,
            cost_pico = h.cost_pico + excluded.cost_pico,
            cost_nano = h.cost_nano + excluded.cost_nano
    ), days AS (
        INSERT INTO usage_days AS d
        SELECT organization_id, date_trunc('day', hour), project_id, team_id, key_id, provider,
               model, usage_source, sum(calls)::bigint, sum(input)::bigint, sum(cached_input)::bigint, sum(cache_write)::bigint, sum(cache_write_1h)::bigint, sum(output)::bigint, sum(reasoning)::bigint, sum(audio_input)::bigint, sum(cached_audio_input)::bigint, sum(audio_output)::bigint, sum(image_output_tokens)::bigint, sum(image_output)::bigint, sum(searches)::bigint, sum(cost_pico)::bigint, sum(cost_nano)::bigint
          FROM by_hour GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
            ON CONFLICT (organization_id, day, project_id, team_id, key_id, provider, model, usage_source) DO UPDATE SET
            calls = d.calls + excluded.calls,
            input = d.input + excluded.input,
            cached_input = d.cached_input + excluded.cached_input,
            cache_write = d.cache_write + excluded.cache_write,
            cache_write_1h = d.cache_write_1h + excluded.cache_write_1h,
            output = d.output + excluded.output,
            reasoning = d.reasoning + excluded.reasoning,
            audio_input = d.audio_input + excluded.audio_input,
            cached_audio_input = d.cached_audio_input + excluded.cached_audio_input,
            audio_output = d.audio_output + excluded.audio_output,
            image_output_tokens = d.image_output_tokens + excluded.image_output_tokens,
            image_output = d.image_output + excluded.image_output,
            searches = d.searches + excluded.searches,
            cost_pico = d.cost_pico + excluded.cost_pico,
            cost_nano = d.cost_nano + excluded.cost_nano
    ), windows AS (
        INSERT INTO budget_windows AS w
        SELECT a.organization_id, c.budget, c.window, a.billed_at::date, sum(c.money),
               sum(c.requests), sum(c.tokens)
          FROM added a, app.usage_counted(a.counted) c
         GROUP BY 1, 2, 3, 4
            ON CONFLICT (organization_id, budget_id, "window", day) DO UPDATE SET
            money = w.money + excluded.money, requests = w.requests + excluded.requests,
            tokens = w.tokens + excluded.tokens
    ), marks AS (
        INSERT INTO usage_watermarks AS w (shard, epoch, highest, since)
        SELECT shard, epoch, max(number), min(billed_at) FROM added GROUP BY 1, 2
            ON CONFLICT (shard, epoch) DO UPDATE SET
            highest = greatest(w.highest, excluded.highest),
            since = least(w.since, excluded.since), seen_at = now()
    )
    SELECT count(*) FROM added
$$;
ALTER FUNCTION app.add_usage(timestamptz[], uuid[], bigint[], smallint[], bigint[], uuid[], uuid[],
    uuid[], bigint[], bigint[], text[], text[], text[], smallint[], text[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.add_usage(timestamptz[], uuid[], bigint[], smallint[], bigint[], uuid[],
    uuid[], uuid[], bigint[], bigint[], text[], text[], text[], smallint[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.add_usage(timestamptz[], uuid[], bigint[], smallint[], bigint[],
    uuid[], uuid[], uuid[], bigint[], bigint[], text[], text[], text[], smallint[], text[])
    TO turnpike_app;

-- Moves watermarks to the last event before which none is missing, and says where they are.
CREATE FUNCTION app.advance_watermarks(shards smallint[], epochs bigint[])
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
               AND e.billed_at >= mark.since);
        SELECT max(n.number) INTO reached
          FROM (SELECT e.number, dense_rank() OVER (ORDER BY e.number) AS nth
                  FROM usage_events e
                 WHERE e.shard = mark.shard AND e.epoch = mark.epoch AND e.number > mark.last
                   AND e.billed_at >= mark.since) n
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
ALTER FUNCTION app.advance_watermarks(smallint[], bigint[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.advance_watermarks(smallint[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.advance_watermarks(smallint[], bigint[]) TO turnpike_app;
