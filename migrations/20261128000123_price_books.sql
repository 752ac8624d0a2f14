-- What customers pay for the platform's models, from when on. Every price stays a row of
-- `model_prices`, with its number at its model, which calls are charged by and which is never
-- used again: of the platform's own book where `book_id` is empty, and else of a book that holds
-- for some organizations. An organization's price for its own provider is in no book.

-- An organization pays what the first of these says that says so: its contract, its own book, the
-- plan that it is on; and else what the platform's own book says, which is no row here.
CREATE TABLE price_books (
    id              uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind IN ('contract', 'organization', 'plan')),
    name            text        NOT NULL UNIQUE,
    organization_id uuid        REFERENCES organizations,
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT price_books_whose CHECK ((kind = 'plan') = (organization_id IS NULL)),
    CONSTRAINT price_books_once UNIQUE (organization_id, kind)
);

-- Which plan an organization is on, from when on. Of rows that begin together the last holds.
CREATE TABLE price_plans (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations,
    -- None: on no plan from then on.
    book_id         uuid        REFERENCES price_books,
    valid_from      timestamptz NOT NULL DEFAULT now(),
    created_by      uuid        REFERENCES people,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT price_plans_ahead CHECK (valid_from >= created_at)
);
CREATE INDEX price_plans_organization ON price_plans (organization_id, valid_from);

-- Prices that an operator wants to put into a book, before they are: looked at, approved by
-- another where they move much, then published or withdrawn.
CREATE TABLE price_drafts (
    id             uuid        PRIMARY KEY,
    -- The platform's own where empty.
    book_id        uuid        REFERENCES price_books,
    -- When they are published, where empty.
    valid_from     timestamptz,
    note           text        NOT NULL,
    -- What `books::Row` reads.
    rows           jsonb       NOT NULL,
    -- Whether something moves by more than half, or vanishes.
    needs_approval boolean     NOT NULL,
    created_by     uuid        NOT NULL REFERENCES people,
    created_at     timestamptz NOT NULL DEFAULT now(),
    approved_by    uuid        REFERENCES people,
    approved_at    timestamptz,
    published_by   uuid        REFERENCES people,
    published_at   timestamptz,
    withdrawn_by   uuid        REFERENCES people,
    withdrawn_at   timestamptz,
    CONSTRAINT price_drafts_two_people CHECK (approved_by IS DISTINCT FROM created_by),
    CONSTRAINT price_drafts_approved
        CHECK (published_at IS NULL OR NOT needs_approval OR approved_at IS NOT NULL),
    CONSTRAINT price_drafts_one_end CHECK (published_at IS NULL OR withdrawn_at IS NULL)
);
CREATE INDEX price_drafts_latest ON price_drafts (created_at DESC);

ALTER TABLE model_prices
    ADD book_id    uuid        REFERENCES price_books,
    -- What the vendor asks, where what is paid was said apart from it.
    ADD list       jsonb,
    -- By how much more than the list is paid, in basis points, where that is how it was said.
    ADD markup_bp  integer     CHECK (markup_bp BETWEEN -10000 AND 1000000),
    ADD draft_id   uuid        REFERENCES price_drafts,
    ADD valid_from timestamptz;
-- Forced row security would hide the rows from the tables' owner, who runs this.
ALTER TABLE model_prices NO FORCE ROW LEVEL SECURITY;
UPDATE model_prices SET valid_from = created_at;
ALTER TABLE model_prices FORCE ROW LEVEL SECURITY;
ALTER TABLE model_prices
    ALTER valid_from SET NOT NULL,
    ALTER valid_from SET DEFAULT now(),
    -- A price never holds for what was before it was said.
    ADD CONSTRAINT model_prices_ahead CHECK (valid_from >= created_at),
    ADD CONSTRAINT model_prices_platforms CHECK (book_id IS NULL OR organization_id IS NULL);

-- When a row was written is not for its writer to say.
CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.created_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp BEFORE INSERT ON model_prices FOR EACH ROW EXECUTE FUNCTION app.stamp();
CREATE TRIGGER stamp BEFORE INSERT ON price_plans FOR EACH ROW EXECUTE FUNCTION app.stamp();
CREATE TRIGGER stamp BEFORE INSERT ON price_drafts FOR EACH ROW EXECUTE FUNCTION app.stamp();

-- The platform's staff see all of it, in the nil organization. Of the others each sees the books
-- that hold or held for it, and no draft.
CREATE PROCEDURE app.belongs_to_platform(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'CREATE POLICY within_platform ON %s
            USING (app.organization_id() = ''00000000-0000-0000-0000-000000000000'')
            WITH CHECK (app.organization_id() = ''00000000-0000-0000-0000-000000000000'')', name);
    EXECUTE format('CREATE POLICY jobs ON %s FOR SELECT TO turnpike_jobs USING (true)', name);
    EXECUTE format('GRANT SELECT, INSERT ON %s TO turnpike_app', name);
    EXECUTE format('GRANT SELECT ON %s TO turnpike_jobs', name);
END
$$;
CALL app.belongs_to_platform('price_books');
CALL app.belongs_to_platform('price_plans');
CALL app.belongs_to_platform('price_drafts');
GRANT UPDATE (needs_approval, approved_by, approved_at, published_by, published_at, withdrawn_by,
              withdrawn_at) ON price_drafts TO turnpike_app;
CREATE POLICY own ON price_plans FOR SELECT USING (organization_id = app.organization_id());
CREATE POLICY own ON price_books FOR SELECT
    USING (organization_id = app.organization_id()
           OR id IN (SELECT book_id FROM price_plans
                      WHERE organization_id = app.organization_id()));
DROP POLICY platforms ON model_prices;
CREATE POLICY platforms ON model_prices FOR SELECT
    USING (organization_id IS NULL AND (book_id IS NULL OR book_id IN (SELECT id FROM price_books)));

-- Which books hold for an organization, and while, the first that says so first.
CREATE FUNCTION app.held_books(organization uuid)
    RETURNS TABLE (book_id uuid, valid_from timestamptz, valid_until timestamptz, place integer)
    LANGUAGE sql STABLE AS $$
    SELECT id, '-infinity', NULL::timestamptz, CASE kind WHEN 'contract' THEN 1 ELSE 2 END
      FROM price_books WHERE organization_id = organization
    UNION ALL
    SELECT * FROM (
        SELECT p.book_id, p.valid_from,
               (SELECT min(n.valid_from) FROM price_plans n
                 WHERE n.organization_id = p.organization_id AND n.valid_from > p.valid_from),
               3
          FROM price_plans p
         WHERE p.organization_id = organization
           AND NOT EXISTS (SELECT FROM price_plans o
                            WHERE o.organization_id = p.organization_id
                              AND o.valid_from = p.valid_from AND o.number > p.number)) AS plans
     WHERE book_id IS NOT NULL
     ORDER BY 4, 2
$$;

CREATE FUNCTION app.milliseconds(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN isfinite(at) THEN ceil(extract(epoch FROM at) * 1000)::bigint ELSE 0 END
$$;

-- What an organization pays for a model at a moment; nothing where nobody knows.
CREATE FUNCTION app.price_of(organization uuid, m upstream_models, at timestamptz) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('revision', revision, 'price', price)
      FROM (SELECT h.place, p.revision, p.price
              FROM app.held_books(organization) h
             CROSS JOIN LATERAL (
                   SELECT revision, price FROM model_prices
                    WHERE (owner, upstream_id, model) = (m.owner, m.upstream_id, m.name)
                      AND book_id = h.book_id AND valid_from <= at
                    ORDER BY valid_from DESC, revision DESC LIMIT 1) p
             WHERE m.organization_id IS NULL AND h.valid_from <= at
               AND (h.valid_until IS NULL OR at < h.valid_until)
            UNION ALL
            (SELECT 4, revision, price FROM model_prices
              WHERE (owner, upstream_id, model) = (m.owner, m.upstream_id, m.name)
                AND book_id IS NULL AND valid_from <= at
              ORDER BY valid_from DESC, revision DESC LIMIT 1)) AS said
     WHERE price IS NOT NULL
     ORDER BY place LIMIT 1
$$;

-- As proxies read a model: what it is, as it was told until now, with what it costs whom no book
-- says otherwise of, and will cost.
ALTER FUNCTION app.model_of(upstream_models) RENAME TO described_model;
CREATE FUNCTION app.model_of(m upstream_models) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT app.described_model(m) || jsonb_build_object(
        'price', app.price_of('00000000-0000-0000-0000-000000000000', m, now()),
        'planned', coalesce(
            (SELECT jsonb_agg(jsonb_build_object(
                        'from_ms', app.milliseconds(p.valid_from),
                        'price', CASE WHEN p.price IS NOT NULL THEN
                            jsonb_build_object('revision', p.revision, 'price', p.price) END)
                    ORDER BY p.revision)
               FROM model_prices p
              WHERE (p.owner, p.upstream_id, p.model) = (m.owner, m.upstream_id, m.name)
                AND p.book_id IS NULL AND p.valid_from > now()), '[]'))
$$;

-- As an organization is offered it: with what it pays itself.
CREATE FUNCTION app.offered_model(m upstream_models, organization uuid) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT app.model_of(m) || jsonb_build_object('price', app.price_of(organization, m, now()))
$$;

-- Every book, or those that are named: what is in force in it and what is planned. A book that
-- says nothing has one row without a model, for those who hold it are told of it.
CREATE FUNCTION app.snapshot_price_books(ids uuid[])
    RETURNS TABLE (
        book_id uuid, upstream_id uuid, model text, from_ms bigint, revision bigint, price jsonb
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT b.id, p.upstream_id, p.model, app.milliseconds(p.valid_from), p.revision, p.price
      FROM price_books b
      LEFT JOIN model_prices p
        ON p.book_id = b.id
       AND (p.valid_from > now()
            OR NOT EXISTS (SELECT FROM model_prices n
                            WHERE n.book_id = p.book_id AND n.upstream_id = p.upstream_id
                              AND n.model = p.model AND n.valid_from <= now()
                              AND (n.valid_from, n.revision) > (p.valid_from, p.revision)))
     WHERE ids IS NULL OR b.id = ANY (ids)
     ORDER BY b.id, p.upstream_id, p.model, p.revision
$$;
ALTER FUNCTION app.snapshot_price_books(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_price_books(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_price_books(uuid[]) TO turnpike_app;
CREATE INDEX model_prices_book ON model_prices (book_id, upstream_id, model)
    WHERE book_id IS NOT NULL;

-- What holds for all of an organization, of those for which anything does; all of them, or
-- those that are named.
DROP FUNCTION app.snapshot_organizations(uuid[]);
CREATE FUNCTION app.snapshot_organizations(ids uuid[])
    RETURNS TABLE (
        id uuid, requests_per_minute integer, tokens_per_minute bigint,
        concurrent_requests integer, disabled_upstreams uuid[], disabled_models text[],
        books uuid[], books_from bigint[], books_until bigint[]
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT o.id, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests,
           coalesce(d.upstreams, '{}'), coalesce(d.models, '{}'),
           coalesce(b.books, '{}'), coalesce(b.froms, '{}'), coalesce(b.untils, '{}')
      FROM organizations o
      LEFT JOIN LATERAL (
           SELECT array_agg(upstream_id ORDER BY upstream_id, model NULLS FIRST) AS upstreams,
                  array_agg(model ORDER BY upstream_id, model NULLS FIRST) AS models
             FROM disabled_models WHERE organization_id = o.id) d ON true
      LEFT JOIN LATERAL (
           SELECT array_agg(h.book_id ORDER BY h.place, h.valid_from) AS books,
                  array_agg(app.milliseconds(h.valid_from) ORDER BY h.place, h.valid_from) AS froms,
                  array_agg(app.milliseconds(h.valid_until) ORDER BY h.place, h.valid_from) AS untils
             FROM app.held_books(o.id) h
            WHERE h.valid_until IS NULL OR h.valid_until > now()) b ON true
     WHERE o.archived_at IS NULL
       AND ((o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests)
            IS DISTINCT FROM (NULL::integer, NULL::bigint, NULL::integer)
            OR d.upstreams IS NOT NULL OR b.books IS NOT NULL)
       AND (ids IS NULL OR o.id = ANY (ids))
     ORDER BY o.id
$$;
ALTER FUNCTION app.snapshot_organizations(uuid[]) OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.snapshot_organizations(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.snapshot_organizations(uuid[]) TO turnpike_app;

ALTER TABLE config_outbox
    DROP CONSTRAINT config_outbox_entity_check,
    ADD CONSTRAINT config_outbox_entity_check CHECK (entity IN (
        'upstream', 'policy', 'project', 'key', 'organization', 'person', 'budget', 'price_book'));
DROP TRIGGER note_change ON model_prices;
CREATE TRIGGER note_change AFTER INSERT ON model_prices
    FOR EACH ROW WHEN (NEW.book_id IS NULL)
    EXECUTE FUNCTION app.note_change('upstream', 'upstream_id');
CREATE TRIGGER note_change_of_book AFTER INSERT ON model_prices
    FOR EACH ROW WHEN (NEW.book_id IS NOT NULL)
    EXECUTE FUNCTION app.note_change('price_book', 'book_id');
CREATE TRIGGER note_change AFTER INSERT ON price_books
    FOR EACH ROW EXECUTE FUNCTION app.note_change('price_book', 'id');
CREATE TRIGGER note_change_of_holder AFTER INSERT ON price_books
    FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'organization_id');
CREATE TRIGGER note_change AFTER INSERT ON price_plans
    FOR EACH ROW EXECUTE FUNCTION app.note_change('organization', 'organization_id');

-- What the platform's staff are told of books: whose they are, and how many hold a plan now.
CREATE FUNCTION app.operator_price_books()
    RETURNS TABLE (id uuid, organization text, slug text, holders bigint, models bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT b.id, o.name, o.slug,
           CASE WHEN b.kind = 'plan' THEN
                (SELECT count(*) FROM organizations h
                  WHERE h.archived_at IS NULL
                    AND (SELECT p.book_id FROM price_plans p
                          WHERE p.organization_id = h.id AND p.valid_from <= now()
                          ORDER BY p.valid_from DESC, p.number DESC LIMIT 1) = b.id)
                ELSE 1 END,
           (SELECT count(DISTINCT (p.upstream_id, p.model)) FROM model_prices p
             WHERE p.book_id = b.id)
      FROM price_books b
      LEFT JOIN organizations o ON o.id = b.organization_id
$$;
ALTER FUNCTION app.operator_price_books() OWNER TO turnpike_jobs;
REVOKE ALL ON FUNCTION app.operator_price_books() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.operator_price_books() TO turnpike_app;
