-- What a team, a project, a key, a cost center or all of an organization spent: what a budget on
-- it is told. Whoever asks sees their own rows and no others, so these run as who calls them.

-- All tokens, in and out.
CREATE FUNCTION app.usage_tokens(lines jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum(coalesce(l.input, 0) + coalesce(l.cached_input, 0)
                        + coalesce(l.cache_write, 0) + coalesce(l.cache_write_1h, 0)
                        + coalesce(l.output, 0) + coalesce(l.reasoning, 0)
                        + coalesce(l.audio_input, 0) + coalesce(l.cached_audio_input, 0)
                        + coalesce(l.audio_output, 0) + coalesce(l.image_output_tokens, 0)),
                    0)::bigint
      FROM app.usage_lines($1) l
$$;

-- Call by call. A cost center bears its share of each, rounded up, by the split of its project
-- on the day where the organization is. What never reached a provider is no request.
CREATE FUNCTION app.scope_calls(
    organization uuid, scope text, scope_id uuid, first timestamptz, until timestamptz
) RETURNS TABLE (
    billed_at timestamptz, request_id uuid, money bigint, requests bigint, tokens bigint
) LANGUAGE sql STABLE AS $$
    SELECT e.billed_at, e.request_id, e.cost_nano,
           (CASE e.usage_source WHEN 'none' THEN 0 ELSE 1 END)::bigint, app.usage_tokens(e.lines)
      FROM public.usage_events e
     WHERE $2 <> 'cost_center'
       AND e.organization_id = $1 AND e.billed_at >= $4 AND e.billed_at < $5
       AND CASE $2 WHEN 'team' THEN e.team_id = $3 WHEN 'project' THEN e.project_id = $3
                   WHEN 'key' THEN e.key_id = $3 ELSE true END
    UNION ALL
    SELECT e.billed_at, e.request_id, ceil(e.cost_nano * h.basis_points::numeric / 10000)::bigint,
           (CASE e.usage_source WHEN 'none' THEN 0 ELSE 1 END)::bigint,
           ceil(app.usage_tokens(e.lines) * h.basis_points::numeric / 10000)::bigint
      FROM public.usage_events e
      JOIN public.organizations o ON o.id = e.organization_id
      JOIN LATERAL (
          SELECT s.effective_from FROM public.project_splits s
           WHERE (s.organization_id, s.project_id) = (e.organization_id, e.project_id)
             AND s.effective_from <= (e.billed_at AT TIME ZONE o.time_zone)::date
           ORDER BY s.effective_from DESC LIMIT 1) s ON true
      JOIN public.project_split_shares h
        ON (h.organization_id, h.project_id, h.effective_from, h.cost_center_id)
         = (e.organization_id, e.project_id, s.effective_from, $3)
     WHERE $2 = 'cost_center'
       AND e.organization_id = $1 AND e.billed_at >= $4 AND e.billed_at < $5
$$;

-- By the hour in UTC: whole hours from what is summed up, and what is left at both ends call by
-- call. Of cost centers, whose shares nothing is summed up by, all is.
CREATE FUNCTION app.scope_hours(
    organization uuid, scope text, scope_id uuid, first timestamptz, until timestamptz
) RETURNS TABLE (hour timestamptz, money bigint, requests bigint, tokens bigint)
LANGUAGE sql STABLE AS $$
    WITH whole AS (
        SELECT CASE $2 WHEN 'cost_center' THEN $5 ELSE least($5,
                   date_trunc('hour', $4 + interval '1 hour - 1 microsecond', 'UTC')) END AS first,
               CASE $2 WHEN 'cost_center' THEN $5
                       ELSE date_trunc('hour', $5, 'UTC') END AS until
    ), parts AS (
        SELECT h.hour, h.cost_nano AS money,
               CASE h.usage_source WHEN 'none' THEN 0 ELSE h.calls END AS requests,
               h.input + h.cached_input + h.cache_write + h.cache_write_1h + h.output
                 + h.reasoning + h.audio_input + h.cached_audio_input + h.audio_output
                 + h.image_output_tokens AS tokens
          FROM public.usage_hours h, whole w
         WHERE h.organization_id = $1 AND h.hour >= w.first AND h.hour < w.until
           AND CASE $2 WHEN 'team' THEN h.team_id = $3 WHEN 'project' THEN h.project_id = $3
                       WHEN 'key' THEN h.key_id = $3 ELSE true END
        UNION ALL
        SELECT c.billed_at, c.money, c.requests, c.tokens
          FROM whole w, app.scope_calls($1, $2, $3, $4, w.first) c
        UNION ALL
        SELECT c.billed_at, c.money, c.requests, c.tokens
          FROM whole w, app.scope_calls($1, $2, $3, greatest(w.first, w.until), $5) c
    )
    SELECT date_trunc('hour', p.hour, 'UTC'), sum(p.money)::bigint, sum(p.requests)::bigint,
           sum(p.tokens)::bigint
      FROM parts p GROUP BY 1
$$;
