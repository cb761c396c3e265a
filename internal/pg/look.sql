-- One row, one JSON object whose keys are the fields of Look. For PostgreSQL 14 to 18 and both roles;
-- functions that fail in the other role stand behind CASE. The role is asked once, so that the answer is of one piece.
-- Functions are asked and not the views that show them: pg_stat_replication, pg_stat_activity and pg_replication_slots
-- join pg_authid and pg_database, and a lock on these, as of VACUUM FULL, would hold up the answer.
WITH role AS MATERIALIZED (SELECT pg_is_in_recovery() AS standby),
receiver AS MATERIALIZED (
	SELECT pid, status, sender_host AS senderhost, sender_port AS senderport, slot_name AS slot,
	       received_tli AS timeline, latest_end_lsn AS latestend,
	       extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float8 AS silence
	FROM pg_stat_get_wal_receiver()
	WHERE pid IS NOT NULL
)
SELECT row_to_json(look) FROM (SELECT
	standby AS inrecovery,
	-- The identifier is unsigned, and bigint is not.
	(SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616) FROM pg_control_system()) AS system,
	current_setting('server_version_num')::int AS version,
	current_setting('data_directory') AS datadirectory,
	pg_postmaster_start_time() AS started,
	pg_conf_load_time() AS confloaded,
	-- The control file's timeline is stale until the next checkpoint: the name of the current WAL segment is
	-- not, nor is what the WAL receiver says.
	CASE WHEN NOT standby THEN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint
	     ELSE coalesce((SELECT timeline FROM receiver WHERE status = 'streaming'),
	                   (SELECT nullif(min_recovery_end_timeline, 0) FROM pg_control_recovery()),
	                   (SELECT timeline_id FROM pg_control_checkpoint()))
	END AS timeline,
	current_setting('synchronous_standby_names') AS synchronous,
	(SELECT coalesce(sourcefile, '') FROM pg_show_all_settings() WHERE name = 'synchronous_standby_names') AS synchronousfrom,
	(SELECT json_agg(name ORDER BY name) FROM pg_show_all_settings() WHERE pending_restart) AS pendingrestart,
	current_setting('wal_level') AS wallevel,
	standby AND coalesce(current_setting('sync_replication_slots', true) = 'on', false) AS syncsslots,
	coalesce(current_setting('synchronized_standby_slots', true), '') AS standbyslots,
	CASE WHEN NOT standby THEN pg_current_wal_lsn() END AS written,
	CASE WHEN NOT standby THEN pg_current_wal_flush_lsn() END AS flushed,
	CASE WHEN standby THEN pg_last_wal_receive_lsn() END AS received,
	CASE WHEN standby THEN pg_last_wal_replay_lsn() END AS replayed,
	CASE WHEN standby THEN (SELECT redo_lsn FROM pg_control_checkpoint()) END AS redo,
	CASE WHEN standby THEN pg_is_wal_replay_paused() END AS replaypaused,
	standby AND EXISTS (SELECT FROM pg_stat_get_activity(NULL) WHERE backend_type = 'startup'
		AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) AS awaitswal,
	standby AND current_setting('restore_command') <> '' AS archive,
	CASE WHEN standby THEN (SELECT json_agg(name ORDER BY name) FROM pg_show_all_settings()
		WHERE name IN ('primary_conninfo', 'primary_slot_name') AND sourcefile LIKE '%/postgresql.auto.conf') END AS overridden,
	CASE WHEN standby THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS replayage,
	(SELECT row_to_json(receiver) FROM receiver) AS receiver,
	(SELECT json_agg(w ORDER BY w.applicationname, w.pid) FROM (
		SELECT a.application_name AS applicationname, r.pid, r.state, r.sync_state AS syncstate, r.sent_lsn AS sent,
		       r.write_lsn AS written, r.flush_lsn AS flushed, r.replay_lsn AS replayed, host(a.client_addr) AS address,
		       (SELECT slot_name FROM pg_get_replication_slots() WHERE active_pid = r.pid) AS slot
		FROM pg_stat_get_wal_senders() AS r JOIN pg_stat_get_activity(NULL) AS a ON a.pid = r.pid) AS w) AS walsenders,
	-- The spelling of the names differs between versions.
	(SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE wait_event_type = 'IO'
		AND lower(wait_event) IN ('walwrite', 'walsync', 'walinitwrite', 'walinitsync')) AS unwritten,
	(SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name = 'pgtwin farewell') AS farewells,
	-- What a standby that is stuck asks for makes its slot look lost, and it is not yet. Failover slots came with
	-- PostgreSQL 17: the row is asked for its columns.
	(SELECT json_agg(s ORDER BY s.name) FROM (
		SELECT slot_name AS name, slot_type = 'physical' AS physical, active, restart_lsn AS restart,
		       wal_status IS NOT DISTINCT FROM 'lost' AND (restart_lsn IS NULL OR to_jsonb(r) ->> 'invalidation_reason' IS NOT NULL) AS lost, xmin IS NOT NULL OR catalog_xmin IS NOT NULL AS holdsrows,
		       coalesce((to_jsonb(r) ->> 'failover')::boolean, false) AS failover,
		       coalesce((to_jsonb(r) ->> 'synced')::boolean, false) AS synced
		FROM pg_get_replication_slots() AS r WHERE NOT temporary) AS s) AS slots
FROM role) AS look
