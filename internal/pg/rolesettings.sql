-- Settings that a replication role ($1) needs and has not got. A library to preload or a login trigger can end every session
-- of a role that is no superuser. The role's own setting takes precedence over ALTER DATABASE and ALTER ROLE ALL (manual,
-- ALTER ROLE, "Notes").
SELECT name FROM (VALUES
	('session_preload_libraries', EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS option
		WHERE setrole = 0 AND starts_with(option, 'session_preload_libraries='))),
	('event_triggers', EXISTS (SELECT FROM pg_event_trigger WHERE evtevent = 'login' AND evtenabled <> 'D'))
) AS setting (name, needed)
WHERE needed AND NOT EXISTS (SELECT FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole, unnest(s.setconfig) AS option
	WHERE r.rolname = $1 AND s.setdatabase = 0 AND starts_with(option, name || '='))
