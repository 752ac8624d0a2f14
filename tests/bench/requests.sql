-- How fast the request log answers filters that few rows pass, and what their indexes cost:
-- a day of one organization with :rows calls, then the first page of each question.
--
--   createdb, apply migrations/, then: psql -v rows=1000000 -f tests/bench/requests.sql
--
-- One call in 1,000 is another provider's, one in 10,000 a 503, one in 5,000 slow.
\set ON_ERROR_STOP on
\timing on
SET max_parallel_workers_per_gather = 0;
SELECT app.make_request_days('2026-11-20', '2026-11-20');
\echo the day is written
INSERT INTO request_events (organization_id, request_id, event, project_id, key_id, asked, model,
                            provider, outcome, status, error, total_ms)
SELECT '0197f3a1-0000-7000-8000-000000000001',
       (lpad(to_hex((extract(epoch FROM timestamptz '2026-11-20 00:00Z') * 1000)::bigint
                    + (nth - 1)::bigint * 86400000 / :rows), 12, '0')
        || '7' || substr(md5(nth::text), 1, 3) || '8' || substr(md5(nth::text), 4, 15))::uuid,
       json_build_object('nth', nth, 'attempts', repeat('x', 600)),
       '0197f3a1-0000-7000-8000-000000000002', '0197f3a1-0000-7000-8000-000000000003',
       'auto', 'gpt-5-mini',
       CASE WHEN nth % 1000 = 7 THEN 'anthropic' ELSE 'openai' END,
       CASE WHEN nth % 10000 = 3 THEN 'server_error' WHEN nth % 50 = 1 THEN 'client_error'
            ELSE 'success' END,
       CASE WHEN nth % 10000 = 3 THEN 503 WHEN nth % 50 = 1 THEN 429 ELSE 200 END,
       CASE WHEN nth % 10000 = 3 THEN 'upstream_overloaded' WHEN nth % 50 = 1 THEN 'rate_limited' END,
       CASE WHEN nth % 5000 = 9 THEN 60000 + nth % 30000 ELSE 200 + nth % 8000 END
  FROM generate_series(1, :rows) AS nth;
VACUUM ANALYZE request_events;
\echo the indexes of a day
SELECT c.relname, pg_size_pretty(pg_relation_size(c.oid)) AS size
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = 'app.requests_20261120'::regclass ORDER BY c.relname;

PREPARE page(text, smallint, text, bigint) AS
SELECT request_id, event FROM request_events
 WHERE organization_id = '0197f3a1-0000-7000-8000-000000000001'
   AND request_id >= app.first_request('2026-11-14 00:00Z')
   AND ($1::text IS NULL OR provider = $1)
   AND ($2::smallint IS NULL OR status = $2)
   AND ($3::text IS NULL OR (error = $3 AND outcome <> 'success'))
   AND ($4::bigint IS NULL OR total_ms >= $4)
 ORDER BY request_id DESC LIMIT 51;
SET plan_cache_mode = force_custom_plan;
\set page 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) EXECUTE page'
\echo provider: one in a thousand, none
:page ('anthropic', NULL, NULL, NULL);
:page ('nobody', NULL, NULL, NULL);
\echo status: one in ten thousand, none, nearly all
:page (NULL, 503, NULL, NULL);
:page (NULL, 418, NULL, NULL);
:page (NULL, 200, NULL, NULL);
\echo error: one in ten thousand, none
:page (NULL, NULL, 'upstream_overloaded', NULL);
:page (NULL, NULL, 'budget_exceeded', NULL);
\echo latency: one in five thousand, none, one in twenty, half
:page (NULL, NULL, NULL, 60000);
:page (NULL, NULL, NULL, 600000);
:page (NULL, NULL, NULL, 7800);
:page (NULL, NULL, NULL, 4000);
\echo two at once: nothing fits both
:page ('anthropic', 503, NULL, NULL);
:page ('anthropic', NULL, NULL, 60000);
