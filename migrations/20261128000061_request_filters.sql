-- What of the request log's filters had no index: each found its page by reading the day.
-- Where nearly all rows are alike, only the others are in one, so that a call that went
-- well costs two entries more and not four.

CREATE INDEX request_events_provider ON request_events (organization_id, provider, request_id);
CREATE INDEX request_events_latency ON request_events (organization_id, total_ms, request_id);
CREATE INDEX request_events_status ON request_events (organization_id, status, request_id)
    WHERE status <> 200;
CREATE INDEX request_events_error ON request_events (organization_id, error, request_id)
    WHERE error IS NOT NULL;
