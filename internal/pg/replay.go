package pg

import (
	"context"
	"fmt"
	"strings"
)

// Replay is what is in force on a standby of the settings that can end its replay, or hold it for good.
type Replay struct {
	Target  string // recovery targets that are set, each with its file; "": none
	Running HotStandby
}

// AskReplay asks a standby for the settings that can hold its replay. None of them changes before the
// server is started anew (manual, "Recovery Target").
func (c *Conn) AskReplay(ctx context.Context) (r Replay, err error) {
	const question = `SELECT coalesce((SELECT string_agg(name || ' (' || coalesce(sourcefile, source) || ')', ', ' ORDER BY name)
			FROM pg_show_all_settings()
			WHERE name IN ('recovery_target', 'recovery_target_lsn', 'recovery_target_name', 'recovery_target_time', 'recovery_target_xid')
			AND setting <> ''), ''),
		current_setting('max_connections')::int, current_setting('max_worker_processes')::int, current_setting('max_wal_senders')::int,
		current_setting('max_prepared_transactions')::int, current_setting('max_locks_per_transaction')::int`
	h := &r.Running
	err = c.session.QueryRow(ctx, question).Scan(&r.Target, &h.MaxConnections, &h.MaxWorkerProcesses, &h.MaxWALSenders,
		&h.MaxPreparedTransactions, &h.MaxLocksPerTransaction)
	if err != nil {
		return Replay{}, fmt.Errorf("cannot ask %s what holds its replay: %w", c.target, err)
	}
	return r, nil
}

// Short names the settings of h that are below what is required, for example "max_connections is 100
// here and 300 on the primary"; "": none is.
func (h HotStandby) Short(required HotStandby) string {
	var all []string
	for _, s := range []struct {
		name           string
		here, required int
	}{
		{"max_connections", h.MaxConnections, required.MaxConnections},
		{"max_worker_processes", h.MaxWorkerProcesses, required.MaxWorkerProcesses},
		{"max_wal_senders", h.MaxWALSenders, required.MaxWALSenders},
		{"max_prepared_transactions", h.MaxPreparedTransactions, required.MaxPreparedTransactions},
		{"max_locks_per_transaction", h.MaxLocksPerTransaction, required.MaxLocksPerTransaction},
	} {
		if s.here < s.required {
			all = append(all, fmt.Sprintf("%s is %d here and %d on the primary", s.name, s.here, s.required))
		}
	}
	return strings.Join(all, ", ")
}
