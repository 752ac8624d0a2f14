-- The roles that the product's security rests on, and its database. Run by the cluster's
-- superuser, as often as one likes; each run sets the passwords given as psql variables
-- `owner_password` and `control_password`.
--
-- turnpike_owner    owns the tables and runs migrations; no service signs in as it
-- turnpike_app      what a service may do; row security binds it
-- turnpike_control  the control plane's login
-- turnpike_jobs     owns the few functions that must see all organizations' rows; nobody
--                   signs in as it

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['turnpike_owner', 'turnpike_app', 'turnpike_jobs', 'turnpike_control']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE turnpike_owner   LOGIN   NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE turnpike_control LOGIN   NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'control_password';
ALTER ROLE turnpike_app     NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
ALTER ROLE turnpike_jobs    NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;

GRANT turnpike_app TO turnpike_control;
-- A migration that makes such a function gives it away, which takes membership.
GRANT turnpike_jobs TO turnpike_owner;

COMMIT;

SELECT 'CREATE DATABASE turnpike OWNER turnpike_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'turnpike')
\gexec

REVOKE ALL ON DATABASE turnpike FROM PUBLIC;
GRANT CONNECT ON DATABASE turnpike TO turnpike_app, turnpike_jobs;
