-- Settings that a replication role ($1) needs of its own, and lacks: another library or a trigger at the login may end every
-- session of those who may not refuse it in the start-up packet. The role's own setting is stronger than those of
-- ALTER DATABASE and ALTER ROLE ALL (manual, ALTER ROLE, "Notes").
SELECT name FROM (VALUES
	('session_preload_libraries', EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS option
		WHERE setrole = 0 AND starts_with(option, 'session_preload_libraries='))),
	('event_triggers', EXISTS (SELECT FROM pg_event_trigger WHERE evtevent = 'login' AND evtenabled <> 'D'))
) AS setting (name, needed)
WHERE needed AND NOT EXISTS (SELECT FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole, unnest(s.setconfig) AS option
	WHERE r.rolname = $1 AND s.setdatabase = 0 AND starts_with(option, name || '='))
