-- Ends the sessions that hold up the replay of a standby, one row each. For PostgreSQL 14 to 18. It asks functions: the
-- views over them would lock pg_authid and pg_database.
WITH activity AS MATERIALIZED (
	SELECT pid, usesysid, application_name, backend_type, wait_event_type, wait_event, xact_start, backend_start, backend_xmin
	FROM pg_stat_get_activity(NULL)
),
startup AS MATERIALIZED (SELECT pid, wait_event_type AS kind, wait_event AS event FROM activity WHERE backend_type = 'startup'),
locks AS MATERIALIZED (
	SELECT pid, granted, ROW(locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS object
	FROM pg_lock_status()
),
-- The startup process takes locks of one mode alone, which no other goes with: AccessExclusiveLock.
holders AS MATERIALIZED (
	SELECT held.pid FROM startup JOIN locks AS wanted ON wanted.pid = startup.pid AND NOT wanted.granted
	JOIN locks AS held ON held.granted AND held.pid <> wanted.pid AND held.object IS NOT DISTINCT FROM wanted.object
),
-- A snapshot, a tablespace for temporary files or a pinned buffer: who has it cannot be seen, but that it has a transaction.
obstacles AS MATERIALIZED (
	SELECT a.* FROM activity AS a, startup WHERE a.pid <> pg_backend_pid() AND a.pid <> startup.pid AND (
		a.pid IN (SELECT pid FROM holders)
		OR startup.event LIKE 'RecoveryConflict%' AND (a.backend_xmin IS NOT NULL OR a.xact_start IS NOT NULL)
		OR startup.kind = 'BufferPin' AND a.xact_start IS NOT NULL)
)
SELECT pid, coalesce(usesysid, 0)::oid, coalesce(application_name, ''), coalesce(backend_type, ''), coalesce(xact_start, backend_start, now())
FROM obstacles WHERE pg_terminate_backend(pid)
