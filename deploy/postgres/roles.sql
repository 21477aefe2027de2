-- The two databases and their roles: each role owns its database, can do nothing beyond it, and has the password of its
-- secret. Runs at every start, and changes nothing that is so already.
\set ON_ERROR_STOP on
\set log_password `cat /run/secrets/postgres_log_password`
\set workspace_password `cat /run/secrets/postgres_workspace_password`
SET log_min_error_statement = panic; -- no password in the log

SELECT format('CREATE DATABASE %I', name) FROM (VALUES ('vigie'), ('evidently')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
SELECT format('CREATE ROLE %I', name) FROM (VALUES ('vigie_log'), ('vigie_workspace')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE vigie_log LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'log_password';
ALTER ROLE vigie_workspace LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'workspace_password';
ALTER ROLE CURRENT_USER PASSWORD NULL; -- the superuser comes in through the socket in its container, and not otherwise
ALTER DATABASE vigie OWNER TO vigie_log;
ALTER DATABASE evidently OWNER TO vigie_workspace;
REVOKE ALL ON DATABASE vigie, evidently, postgres, template1 FROM PUBLIC;

\connect vigie
\set owner vigie_log
\i /etc/vigie/own.sql
\connect evidently
\set owner vigie_workspace
\i /etc/vigie/own.sql
