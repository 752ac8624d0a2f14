-- What of providers, policies and limits proxies are told of.

CREATE TRIGGER want_snapshot AFTER INSERT OR DELETE OR UPDATE OF
    vendor, dialect, base_url, region, enabled, archived_at
    ON upstreams FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER INSERT OR UPDATE OR DELETE ON upstream_models
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
-- Trying a connection changes nothing that proxies run.
DROP TRIGGER want_snapshot ON provider_credentials;
CREATE TRIGGER want_snapshot AFTER INSERT OR DELETE OR UPDATE OF
    upstream_id, weight, enabled, sealed_secret
    ON provider_credentials FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot AFTER INSERT OR UPDATE OR DELETE ON policies
    FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot_of_limits AFTER UPDATE OF
    requests_per_minute, tokens_per_minute, concurrent_requests
    ON organizations FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
CREATE TRIGGER want_snapshot_of_limits AFTER UPDATE OF
    requests_per_minute, tokens_per_minute, concurrent_requests
    ON projects FOR EACH STATEMENT EXECUTE FUNCTION app.want_snapshot();
