-- One row, one JSON object. Failover slots came with PostgreSQL 17: the row is asked for its columns. The view pg_replication_slots would
-- wait for a lock on pg_database.
SELECT row_to_json(upstream) FROM (SELECT
	pg_is_in_recovery() AS standby,
	(SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint,
	(SELECT json_agg(s ORDER BY s.name) FROM (
		SELECT slot_name AS name, slot_type = 'physical' AS physical, active, restart_lsn AS restart,
		       coalesce((to_jsonb(r) ->> 'failover')::boolean, false) AS failover
		FROM pg_get_replication_slots() AS r WHERE NOT temporary) AS s) AS slots
) AS upstream
