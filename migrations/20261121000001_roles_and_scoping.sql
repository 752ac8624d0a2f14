-- Three roles, and how a transaction says whose rows it may see.
--
-- The owner of the schema runs migrations. `turnpike_app` is what the control plane
-- acts as: it owns nothing, bypasses nothing, and sees a tenant's row only in a
-- transaction that named the tenant. `turnpike_jobs` owns the few functions that must
-- look across tenants; nobody signs in as it.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['turnpike_app', 'turnpike_jobs'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = name);
        -- Another database of the same cluster may be creating it at this moment.
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', name);
            EXECUTE format('GRANT %I TO %I', name, current_user);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app, public TO turnpike_app, turnpike_jobs;
-- A function can only be given to a role that may create in its schema.
GRANT CREATE ON SCHEMA app TO turnpike_jobs;

-- Whose rows this transaction sees. Unset, and '' as SET LOCAL leaves it, mean nobody's.
CREATE FUNCTION app.organization_id() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.organization_id', true), '')::uuid $$;

-- Who acts, for the rows that belong to a person whatever the organization.
CREATE FUNCTION app.person_id() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.person_id', true), '')::uuid $$;

-- Puts a tenant's table under the rule that every tenant's table is under: reached by
-- the application only within the tenant named, even where a query forgets to say so.
CREATE PROCEDURE app.belongs_to_organization(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'CREATE POLICY within_organization ON %s
            USING (organization_id = app.organization_id())
            WITH CHECK (organization_id = app.organization_id())', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO turnpike_app', name);
END
$$;
