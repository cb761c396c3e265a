-- A replication role ($1) and the session's database, in one row whether or not the role exists. An expiry in
-- seconds since 1970, null for none; of the role's settings those by which a replication connection may fail.
SELECT r.oid IS NOT NULL, coalesce(r.rolcanlogin, false), coalesce(r.rolreplication OR r.rolsuper, false), coalesce(r.rolpassword, ''),
	CASE WHEN r.rolsuper THEN -1 ELSE coalesce(r.rolconnlimit, -1) END, d.datconnlimit,
	CASE WHEN isfinite(r.rolvaliduntil) THEN extract(epoch FROM r.rolvaliduntil)::float8 WHEN r.rolvaliduntil = '-infinity' THEN 0 END,
	ARRAY(SELECT split_part(s, '=', 1) FROM pg_db_role_setting AS c, unnest(c.setconfig) AS s
		WHERE c.setrole = r.oid AND s <> 'session_preload_libraries=' AND c.setdatabase IN (0, d.oid) AND split_part(s, '=', 1) = ANY (ARRAY['role', 'session_preload_libraries',
			'local_preload_libraries', 'wal_sender_timeout', 'statement_timeout', 'transaction_timeout', 'idle_session_timeout',
			'idle_in_transaction_session_timeout', 'tcp_user_timeout', 'row_security', 'exit_on_error'])),
	d.datname
FROM pg_database AS d LEFT JOIN pg_authid AS r ON r.rolname = $1
WHERE d.datname = current_database()
