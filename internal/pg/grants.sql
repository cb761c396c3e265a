-- What a replication role ($1) may not do in this database, and must: be asked by peers (upstream.sql), and
-- be the source of a pg_rewind (manual, pg_rewind, "Notes"). Most of it is everybody's, unless somebody
-- revoked it. The text is what GRANT names it.
SELECT needed FROM pg_roles AS r, LATERAL (
	SELECT 'CONNECT ON DATABASE ' || quote_ident(current_database()), has_database_privilege(r.oid, current_database(), 'CONNECT')
	UNION ALL
	SELECT 'USAGE ON SCHEMA pg_catalog', has_schema_privilege(r.oid, 'pg_catalog', 'USAGE')
	UNION ALL
	SELECT 'SELECT ON pg_catalog.' || name, has_table_privilege(r.oid, 'pg_catalog.' || name, 'SELECT')
	FROM unnest(ARRAY['pg_replication_slots', 'pg_tablespace']) AS name
	UNION ALL
	SELECT 'EXECUTE ON FUNCTION pg_catalog.' || name, has_function_privilege(r.oid, 'pg_catalog.' || name, 'EXECUTE')
	FROM unnest(ARRAY[
		'pg_ls_dir(text, boolean, boolean)',
		'pg_stat_file(text, boolean)',
		'pg_read_binary_file(text)',
		'pg_read_binary_file(text, bigint, bigint, boolean)',
		'pg_is_in_recovery()',
		'pg_control_checkpoint()',
		'pg_get_replication_slots()',
		'pg_current_wal_insert_lsn()',
		'pg_tablespace_location(oid)',
		'pg_size_bytes(text)',
		'current_setting(text)',
		'set_config(text, text, boolean)'
	]) AS name
) AS privileges (needed, granted)
WHERE r.rolname = $1 AND NOT granted
