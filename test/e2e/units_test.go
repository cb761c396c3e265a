//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"pgtwin/internal/units"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// unitsAsDesigned looks at the running instances with systemd's tools: processes, log, status line and limits are where an
// administrator looks for them.
func unitsAsDesigned(s *scene) {
	primary, standby := s.hosts()
	for _, h := range s.c.Hosts() {
		s.tell(
			step("every process of PostgreSQL on "+h.Name()+" is in the unit", func(ctx context.Context) error { return processesInUnit(ctx, h) }),
			step("the unit's log on "+h.Name()+" is PostgreSQL's", func(ctx context.Context) error { return logOfPostgreSQL(ctx, h) }),
			step("the limits of pgtwin.toml are on the slice on "+h.Name(), func(ctx context.Context) error { return limitsOnSlice(ctx, h) }),
		)
	}
	s.tell(
		step("systemctl status says role, timeline and peer", func(ctx context.Context) error {
			return errors.Join(
				statusLine(ctx, primary, "primary", "timeline ", standby.Name()+" streaming"),
				statusLine(ctx, standby, "standby of "+primary.Name(), "timeline "))
		}),
	)
}

func processesInUnit(ctx context.Context, h *lab.Host) error {
	pids, err := cluster.Processes(ctx, h)
	if err != nil {
		return err
	}
	if len(pids) < 4 { // postmaster, checkpointer, background writer, our session
		return fmt.Errorf("there are only %d processes", len(pids))
	}
	group := units.DatabaseGroup(cluster.Instance)
	docker := path.Dir(group) + "/docker-" // dockerd keeps its containers in scopes of their own, in the instance's slice
	inside := 0
	for _, pid := range pids {
		text, err := h.Run(ctx, "cat", "/proc/"+pid+"/cgroup")
		if err != nil {
			continue // sessions come and go
		}
		_, rest, _ := strings.Cut(text, "0::")
		found, _, _ := strings.Cut(rest, "\n")
		if found != group && !strings.HasPrefix(found, group+"/") && !strings.HasPrefix(found, docker) {
			return fmt.Errorf("process %s is in %s, not in %s", pid, found, group)
		}
		inside++
	}
	if inside < 4 {
		return fmt.Errorf("only %d processes stayed to be looked at", inside)
	}
	return nil
}

// line is a line of the journal.
type line struct {
	Message  any    `json:"MESSAGE"` // not text where it has control characters
	Priority string `json:"PRIORITY"`
	Comm     string `json:"_COMM"`
	PID      string `json:"_PID"`
}

// logOfPostgreSQL lets PostgreSQL log an error: it has to be in the unit's journal with the severity it has for syslog
// (elog.c: ERROR is LOG_WARNING, LOG is LOG_INFO) and with the process that wrote it. The session stays until its line has
// been found: the journal asks who wrote a line when it reads it, which may be later.
func logOfPostgreSQL(ctx context.Context, h *lab.Host) error {
	ended := make(chan error, 1)
	go func() {
		_, err := cluster.SQL(ctx, h, `set application_name = 'logged';
\set ON_ERROR_STOP off
select 1/0;
select pg_sleep(60);`)
		ended <- err
	}()
	found := linesInJournal(ctx, h)
	_, err := cluster.SQL(ctx, h, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'logged'")
	<-ended // how it ended says nothing: it was ended
	return errors.Join(found, err)
}

func linesInJournal(ctx context.Context, h *lab.Host) error {
	return cluster.Await(ctx, "PostgreSQL's lines in the journal", func(ctx context.Context) error {
		text, err := h.Run(ctx, "journalctl", "--unit="+cluster.Unit, "--output=json", "--no-pager", "_COMM=postgres")
		if err != nil {
			return err
		}
		var lines []line
		for row := range strings.Lines(text) {
			var l line
			if err := json.Unmarshal([]byte(row), &l); err != nil {
				return err
			}
			lines = append(lines, l)
		}
		logged := func(text, priority string) bool {
			return slices.ContainsFunc(lines, func(l line) bool {
				return strings.Contains(fmt.Sprint(l.Message), text) && l.Priority == priority && l.PID != "" && l.PID != "0"
			})
		}
		if !logged("division by zero", "4") {
			return fmt.Errorf("no warning with the error of the session among %d lines", len(lines))
		}
		if !logged("ready to accept", "6") {
			return errors.New("no information with the start of the server")
		}
		return nil
	})
}

func statusLine(ctx context.Context, h *lab.Host, parts ...string) error {
	text, err := cluster.Property(ctx, h, cluster.Unit, "StatusText")
	if err != nil {
		return err
	}
	return mention("the status line on "+h.Name(), text, parts...)
}

// limitsOnSlice compares with the pgtwin.toml that the hosts were given.
func limitsOnSlice(ctx context.Context, h *lab.Host) error {
	slice, err := cluster.Property(ctx, h, cluster.Unit, "Slice")
	if err != nil {
		return err
	}
	failed := expect("the slice", slice, units.Slice(cluster.Instance))
	for name, want := range map[string]string{"MemoryMax": "1073741824", "CPUWeight": "200", "IOWeight": "300", "TasksMax": "500"} {
		got, err := cluster.Property(ctx, h, slice, name)
		failed = errors.Join(failed, err, expect(name, got, want))
	}
	return failed
}
