-- What the request log says that calls cost, and what they are billed. The log is kept for a
-- shorter time than usage, so what is compared is what stands in both.

CREATE FUNCTION app.logged_of_day(of date) RETURNS TABLE (logged numeric, billed numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT coalesce(sum((r.event ->> 'cost')::numeric), 0), coalesce(sum(e.cost_nano), 0)
      FROM usage_events e JOIN request_events r USING (organization_id, request_id)
     WHERE e.billed_at >= of AND e.billed_at < of + 1
$$;

CREATE FUNCTION app.differing_log(of date) RETURNS TABLE (
    row_key text, amount text, ours numeric, theirs numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
    SELECT concat_ws(' ', 'request=' || e.request_id, 'organization=' || e.organization_id),
           'cost_nano', coalesce((r.event ->> 'cost')::numeric, 0), e.cost_nano
      FROM usage_events e JOIN request_events r USING (organization_id, request_id)
     WHERE e.billed_at >= of AND e.billed_at < of + 1
       AND (r.event ->> 'cost')::numeric IS DISTINCT FROM e.cost_nano
$$;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY['app.logged_of_day(date)', 'app.differing_log(date)']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO turnpike_jobs', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO turnpike_app', name);
    END LOOP;
END
$$;
