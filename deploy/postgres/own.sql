-- Gives the role :owner all that the superuser owns in this database. In a volume of an earlier version that is everything.
BEGIN;
WITH
mine AS (SELECT oid FROM pg_roles WHERE rolname = current_user),
spaces AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
-- what belongs to another object, such as the sequence of a column, follows it
parts AS (SELECT classid, objid FROM pg_depend WHERE deptype IN ('a', 'i', 'e')),
found (kind, name) AS (
    SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace
    WHERE nspowner IN (TABLE mine) AND oid IN (TABLE spaces)
    UNION ALL
    SELECT
        CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
        oid::regclass::text
    FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relowner IN (TABLE mine) AND relnamespace IN (TABLE spaces)
        AND (relkind <> 'S' OR ('pg_class'::regclass, oid) NOT IN (TABLE parts))
    UNION ALL
    SELECT 'TYPE', oid::regtype::text FROM pg_type
    WHERE typtype IN ('e', 'd', 'r') AND typowner IN (TABLE mine) AND typnamespace IN (TABLE spaces)
    UNION ALL
    SELECT 'ROUTINE', oid::regprocedure::text FROM pg_proc
    WHERE proowner IN (TABLE mine) AND pronamespace IN (TABLE spaces)
        AND ('pg_proc'::regclass, oid) NOT IN (TABLE parts)
)
SELECT format('ALTER %s %s OWNER TO %I', kind, name, :'owner') FROM found \gexec
COMMIT;
