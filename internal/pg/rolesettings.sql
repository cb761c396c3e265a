-- Settings of a replication role ($1) that have to be changed: in no database, where it needs a value of its own and has not got
-- it; in the named one, where it has a value that is in the way. A library to preload or a login trigger can end every session
-- of a role that is no superuser. The role's own setting takes precedence over ALTER DATABASE and ALTER ROLE ALL, and the one
-- that it has in a database over that (manual, ALTER ROLE, "Notes").
WITH setting AS (
	SELECT s.setrole, s.setdatabase, split_part(option, '=', 1) AS name,
		split_part(option, '=', 2) NOT IN ('', '""', 'off', 'false', 'no', '0') AS hinders
	FROM pg_db_role_setting AS s, unnest(s.setconfig) AS option
	WHERE s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = $1))
), wanted (name, needed) AS (VALUES
	('session_preload_libraries', EXISTS (SELECT FROM setting
		WHERE name = 'session_preload_libraries' AND hinders AND (setrole = 0 OR setdatabase = 0))),
	('event_triggers', EXISTS (SELECT FROM pg_event_trigger WHERE evtevent = 'login' AND evtenabled <> 'D'))
)
SELECT '' AS in_database, name FROM wanted
WHERE needed AND NOT EXISTS (SELECT FROM setting AS own
	WHERE own.setrole <> 0 AND own.setdatabase = 0 AND own.name = wanted.name AND NOT own.hinders)
UNION ALL
SELECT d.datname, name FROM setting JOIN wanted USING (name) JOIN pg_database AS d ON d.oid = setdatabase
WHERE setrole <> 0 AND hinders AND (needed OR name = 'session_preload_libraries')
