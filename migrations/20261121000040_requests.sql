-- The request log: one row for each call that proxies told of, kept for some weeks.
--
-- A request's id is a UUIDv7, so it says when the call began: rows are kept apart by day,
-- found and listed by the id alone, and a day that has to go goes as a whole.
CREATE SEQUENCE request_arrivals;

CREATE TABLE request_events (
    organization_id uuid     NOT NULL,
    request_id      uuid     NOT NULL,
    -- Grows in the order in which an organization's events came. Calls end in another
    -- order than they began, so whoever follows the log goes by this.
    arrival         bigint   NOT NULL DEFAULT nextval('request_arrivals'),
    -- The event as the proxy told it. The columns below are what filters ask for.
    event           jsonb    NOT NULL,
    project_id      uuid     NOT NULL,
    key_id          uuid     NOT NULL,
    asked           text     NOT NULL,
    -- Of who answered; none where nobody did.
    model           text,
    provider        text,
    outcome         text     NOT NULL,
    status          smallint NOT NULL,
    error           text,
    total_ms        bigint   NOT NULL,
    PRIMARY KEY (organization_id, request_id)
) PARTITION BY RANGE (request_id);

CREATE INDEX request_events_arrival ON request_events (organization_id, arrival);
CREATE INDEX request_events_project ON request_events (organization_id, project_id, request_id);
CREATE INDEX request_events_key ON request_events (organization_id, key_id, request_id);
CREATE INDEX request_events_asked ON request_events (organization_id, asked, request_id);
CREATE INDEX request_events_model ON request_events (organization_id, model, request_id);
CREATE INDEX request_events_unserved ON request_events (organization_id, outcome, request_id)
    WHERE outcome <> 'success';

ALTER TABLE request_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_events FORCE ROW LEVEL SECURITY;
CREATE POLICY within_organization ON request_events FOR SELECT TO turnpike_app
    USING (organization_id = app.organization_id());
GRANT SELECT ON request_events TO turnpike_app;
CREATE POLICY jobs ON request_events TO turnpike_jobs USING (true) WITH CHECK (true);

-- Partitions are made and dropped by the functions below, and whoever does that owns the
-- table. Partitions live in `app`, out of reach but through the table.
GRANT CREATE ON SCHEMA public TO turnpike_jobs;
ALTER TABLE request_events OWNER TO turnpike_jobs;
REVOKE CREATE ON SCHEMA public FROM turnpike_jobs;
GRANT USAGE ON SEQUENCE request_arrivals TO turnpike_jobs;

-- The first id of a request that begins at an instant.
CREATE FUNCTION app.first_request(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the partitions of those days where they are not there yet.
CREATE FUNCTION app.make_request_days(first date, last date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '1s' AS $$
DECLARE
    day date;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('request days'));
    FOR offset_days IN 0 .. last - first LOOP
        day := first + offset_days;
        name := 'requests_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('app.' || name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE app.%I PARTITION OF request_events FOR VALUES FROM (%L) TO (%L)', name,
            app.first_request(day::timestamp AT TIME ZONE 'UTC'),
            app.first_request((day + 1)::timestamp AT TIME ZONE 'UTC'));
        EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END
$$;
ALTER FUNCTION app.make_request_days(date, date) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.make_request_days(date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.make_request_days(date, date) TO turnpike_app;

-- Drops the partitions of all days before one. Says how many.
CREATE FUNCTION app.drop_request_days(before date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '1s' AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'public.request_events'::regclass
           AND c.relname < 'requests_' || to_char(before, 'YYYYMMDD')
    LOOP
        EXECUTE format('DROP TABLE app.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
ALTER FUNCTION app.drop_request_days(date) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.drop_request_days(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.drop_request_days(date) TO turnpike_app;

-- Adds what proxies told, whosever it is. What is there already stays as it is, so that
-- an event that comes twice counts once. Says how many were new.
CREATE FUNCTION app.add_requests(
    organizations uuid[], requests uuid[], events text[], projects uuid[], keys uuid[],
    asked text[], models text[], providers text[], outcomes text[], statuses smallint[],
    errors text[], totals bigint[]
) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH added AS (
        INSERT INTO request_events (organization_id, request_id, event, project_id, key_id, asked,
                                    model, provider, outcome, status, error, total_ms)
        SELECT * FROM unnest(organizations, requests, events::jsonb[], projects, keys, asked, models,
                             providers, outcomes, statuses, errors, totals)
            ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM added
$$;
ALTER FUNCTION app.add_requests(uuid[], uuid[], text[], uuid[], uuid[], text[], text[], text[],
                                text[], smallint[], text[], bigint[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.add_requests(uuid[], uuid[], text[], uuid[], uuid[], text[], text[],
                                        text[], text[], smallint[], text[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.add_requests(uuid[], uuid[], text[], uuid[], uuid[], text[], text[],
                                           text[], text[], smallint[], text[], bigint[])
    TO turnpike_app;
