package pg

import (
	"strconv"
	"strings"
	"time"
)

// sessionSetting is one setting that a session of ours brings along in its start-up packet, where it
// wins over what ALTER ROLE, ALTER DATABASE and the configuration files say (guc.h, GucSource).
type sessionSetting struct {
	name, value string
	since       int // first major version that knows the setting; 0: all from 14 on
	why         string
}

// sessionSettings are sent when a session starts, so that there is no moment without them. PostgreSQL
// refuses a session with a setting that its version does not know or that the role may not set, so the
// packet depends on both.
func sessionSettings(t Target) map[string]string {
	settings := map[string]string{
		"application_name":  t.ApplicationName,
		"statement_timeout": millis(orDefault(t.StatementTimeout)),
	}
	add := func(table []sessionSetting) {
		for _, s := range table {
			if s.since <= max(t.Major, oldestMajor) {
				settings[s.name] = s.value
			}
		}
	}
	add(everySession())
	if t.superuser() {
		add(superuserSession())
	}
	return settings
}

// oldestMajor is the oldest version of PostgreSQL that pgtwin supports.
const oldestMajor = 14

// superuser says whether the session is the superuser's: over the socket pg_hba.conf lets in the
// superuser alone for us, over the network the replication role (hbaConf).
func (t Target) superuser() bool { return strings.HasPrefix(t.Host, "/") }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// everySession are settings that every role may set.
func everySession() []sessionSetting {
	return []sessionSetting{
		// What a session may do.
		{"role", "none", 0, "another role may lack the rights of the superuser"},
		{"default_transaction_isolation", "read committed", 0, "a server in recovery refuses serializable (0A000)"},
		{"default_transaction_read_only", "off", 0, "the set-up of the replication role writes"},
		{"default_transaction_deferrable", "off", 0, "with serializable it would wait for other transactions"},
		{"synchronous_commit", "local", 0, "after a promotion a commit would wait for a standby that is gone"},
		{"exit_on_error", "off", 0, "an error, which Look expects at a promotion, would end the session"},
		{"local_preload_libraries", "", 0, "a library that is missing ends every new session"},
		{"row_security", "on", 0, "off makes a query fail where a policy applies"},

		// How long it may take. An idle session is kept on purpose.
		{"lock_timeout", millis(2 * time.Second), 0, "nobody waits for long behind a session of ours, nor do we"},
		{"idle_in_transaction_session_timeout", millis(10 * time.Second), 0, "locks end even if this process is stopped"},
		{"idle_session_timeout", "0", 0, "the supervisor keeps its session"},
		{"transaction_timeout", "0", 17, "statement_timeout has the limit, and a checkpoint has none"},
		{"client_connection_check_interval", "0", 0, "contexts end our statements"},
		{"tcp_keepalives_idle", "0", 0, "the system's value: one of a role could end the session"},
		{"tcp_keepalives_interval", "0", 0, "as tcp_keepalives_idle"},
		{"tcp_keepalives_count", "0", 0, "as tcp_keepalives_idle"},
		{"tcp_user_timeout", "0", 0, "as tcp_keepalives_idle"},

		// What statements and answers look like.
		{"search_path", "pg_catalog", 0, "an object of another schema could take the place of PostgreSQL's own"},
		{"client_encoding", "UTF8", 0, "JSON is UTF-8"},
		{"DateStyle", "ISO, YMD", 0, "times are read as ISO 8601"},
		{"IntervalStyle", "postgres", 0, "intervals have one form"},
		{"TimeZone", "GMT", 0, "an offset with seconds is no time in JSON; GMT needs no time zone files"},
		{"extra_float_digits", "1", 0, "numbers come back whole"},
		{"bytea_output", "hex", 0, "bytes have one form"},
		{"standard_conforming_strings", "on", 0, "backslashes in our patterns are backslashes"},
		{"quote_all_identifiers", "off", 0, "names come back as they are shown to administrators"},
		{"client_min_messages", "warning", 0, "notices are not read"},

		// How statements are run.
		{"jit", "off", 0, "it costs more than our statements take, and needs a library that may be broken"},
		{"max_parallel_workers_per_gather", "0", 0, "a statement of ours needs no second process"},
		{"work_mem", "4MB", 0, "what does not fit would go to temporary files, for which there may be no room"},
		{"hash_mem_multiplier", "1", 0, "as work_mem"},
		{"commit_siblings", "1000", 0, "a commit is not delayed for others (commit_delay)"},

		// What PostgreSQL writes to its log, some of it whole statements and plans.
		{"debug_print_parse", "off", 0, "four statements a second are not logged"},
		{"debug_print_rewritten", "off", 0, "as debug_print_parse"},
		{"debug_print_plan", "off", 0, "as debug_print_parse"},
		{"log_parameter_max_length_on_error", "0", 0, "a verifier is a parameter"},
	}
}

// superuserSession are settings that only a superuser may set; anybody else's session would be refused
// with them.
func superuserSession() []sessionSetting {
	return []sessionSetting{
		{"session_preload_libraries", "", 0, "a library that is missing ends every new session"},
		{"session_replication_role", "replica", 0, "event triggers that refuse DDL do not fire; tables of users are not written to"},
		{"event_triggers", "off", 17, "not even those that fire always, nor at the login"},
		{"temp_file_limit", "-1", 0, "a statement of ours is small, and 0 refuses any"},
		{"commit_delay", "0", 0, "a commit is not delayed for others"},
		{"deadlock_timeout", "1s", 0, "a short one makes the look for deadlocks costly"},
		{"ignore_checksum_failure", "off", 0, "damage is an error and not a wrong answer"},
		{"zero_damaged_pages", "off", 0, "damage in a catalog is not zeroed by a session of ours"},
		{"log_statement", "none", 0, "four statements a second are not logged"},
		{"log_duration", "off", 0, "as log_statement"},
		{"log_min_duration_statement", "-1", 0, "as log_statement"},
		{"log_min_duration_sample", "-1", 0, "as log_statement"},
		{"log_transaction_sample_rate", "0", 0, "as log_statement"},
		{"log_min_error_statement", "panic", 0, "an error is one line in the log, without the statement"},
		{"log_min_messages", "warning", 0, "what debugging writes of each statement is not ours to add"},
		{"log_error_verbosity", "default", 0, "an error is one line in the log"},
		{"backtrace_functions", "", 0, "an error is one line in the log"},
		{"log_lock_waits", "off", 0, "a look that waits is reported by the supervisor"},
		{"log_temp_files", "-1", 0, "as log_statement"},
		{"log_replication_commands", "off", 0, "as log_statement"},
		{"log_parser_stats", "off", 0, "as log_statement"},
		{"log_planner_stats", "off", 0, "as log_statement"},
		{"log_executor_stats", "off", 0, "as log_statement"},
		{"log_statement_stats", "off", 0, "as log_statement"},
		{"pg_stat_statements.track", "none", 0, "its file of statements is locked while it is cleaned up"},
		{"auto_explain.log_min_duration", "-1", 0, "plans of our statements are not logged"},
	}
}
