package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

func TestEndingIsReadFromTheControlFile(t *testing.T) {
	at := func(s pg.State) pg.Control {
		return pg.Control{State: s, Timeline: 3, Checkpoint: 0x5000, MinRecovery: 0x4000, MinRecoveryTimeline: 2}
	}
	beyond := at(pg.InArchiveRecovery)
	beyond.MinRecovery, beyond.MinRecoveryTimeline = 0x6000, 4
	tests := []struct {
		name     string
		control  pg.Control
		timeline ha.Timeline
		position ha.LSN
		ended    ha.Ending
	}{
		{"a primary that was shut down", at(pg.ShutDown), 3, 0x5000, ha.Clean},
		{"a primary that crashed", at(pg.InProduction), 3, 0x5000, ha.Crashed},
		{"one that crashed while shutting down", at(pg.ShuttingDown), 3, 0x5000, ha.Crashed},
		{"one that crashed in its crash recovery", at(pg.InCrashRecovery), 3, 0x5000, ha.Crashed},
		{"one that crashed while starting", at(pg.StartingUp), 3, 0x5000, ha.Crashed},
		{"a standby that was shut down", at(pg.ShutDownInRecovery), 3, 0x5000, ha.Replaying},
		{"a standby that replayed beyond its last restart point", beyond, 4, 0x6000, ha.Replaying},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timeline, position, ended := ending(test.control)
			if timeline != test.timeline || position != test.position || ended != test.ended {
				t.Errorf("timeline %d at %s, ending %d, want %d at %s, %d", timeline, position, ended, test.timeline, test.position, test.ended)
			}
		})
	}
}

func TestJobOutput(t *testing.T) {
	tests := []struct {
		name     string
		written  []string
		progress []int64 // done, total, ...
		tail     string
	}{
		{"lines of progress that end in a carriage return", []string{"    0/100 kB (0%), 0/1 tablespace\r 50/100 kB (50%), 0/1 tablespace\r"},
			[]int64{0, 100 << 10, 50 << 10, 100 << 10}, ""},
		{"a line in pieces is one", []string{" 50/1", "00 kB (50", "%), 0/1 tablespace", "\r"}, []int64{50 << 10, 100 << 10}, ""},
		{"messages are kept", []string{"pg_rewind: error: no\nDETAIL: why\n"}, nil, "pg_rewind: error: no; DETAIL: why"},
		{"the last ones of many", []string{"1\n2\n3\n4\n5\n6\n7\n"}, nil, "3; 4; 5; 6; 7"},
		{"also one without an end", []string{"waiting\r\n", "fatal: "}, nil, "waiting; fatal:"},
		{"between lines of progress", []string{" 1/4 kB (25%)\rwarning: x\n 4/4 kB (100%)\r"}, []int64{1 << 10, 4 << 10, 4 << 10, 4 << 10}, "warning: x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var progress []int64
			o := &jobOutput{report: func(done, total int64) { progress = append(progress, done, total) }}
			for _, text := range test.written {
				if n, err := o.Write([]byte(text)); n != len(text) || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
			}
			if tail := o.tail(); tail != test.tail || fmt.Sprint(progress) != fmt.Sprint(test.progress) {
				t.Errorf("tail %q, progress %v, want %q, %v", tail, progress, test.tail, test.progress)
			}
		})
	}
}

func TestSentence(t *testing.T) {
	for want, p := range map[string]control.Progress{
		"checking":                             {Phase: control.PhaseChecking},
		"waiting: h1 does not answer":          {Phase: control.PhaseWaiting, Detail: "h1 does not answer"},
		"initdb: first, 3.0 MB":                {Phase: control.PhaseInit, Detail: "first", Done: 3 << 20},
		"cloning: h1, 1.0 MB of 4.0 MB (25 %)": {Phase: control.PhaseCloning, Detail: "h1", Done: 1 << 20, Total: 4 << 20},
	} {
		if got := sentence(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOnlyADatabaseOfTheRightOwnerIsStarted(t *testing.T) {
	postgres, err := user.Lookup("postgres")
	must(t, err)
	tests := []struct {
		name      string
		account   string // pguser
		owner     int    // of the data directory; -1: it is missing
		empty     bool
		container bool
		want      string // owner, or part of the error
	}{
		{"its user's own", "postgres", number(t, postgres.Uid), false, false, postgres.Uid},
		{"another user's", "postgres", 4242, false, false, "belongs to user id 4242, not to postgres"},
		{"another user's in a container", "postgres", 4242, false, true, "4242"},
		{"root's", "postgres", 0, false, true, "belongs to root"},
		{"an empty directory of root's becomes the user's", "postgres", 0, true, false, postgres.Uid},
		{"so does one that is yet to be made", "postgres", -1, false, false, postgres.Uid},
		{"of a user whom this host does not know", "nobody-here", 4242, false, true, "4242"},
		{"root's for a user whom this host does not know", "nobody-here", 0, false, true, "belongs to root"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if test.owner >= 0 {
				must(t, os.Mkdir(dir, 0o700))
				if !test.empty {
					must(t, os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600))
				}
				must(t, os.Chown(dir, test.owner, test.owner))
			}
			found, err := dataOwner(config.Instance{PGData: dir, User: test.account, ContainerMode: test.container})
			got := fmt.Sprint(found.uid)
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != test.want || err != nil && !strings.Contains(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestOnlyPacemakerStartsTheDatabase(t *testing.T) {
	name := newName(t)
	if err := Authorized(name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "by Pacemaker alone") {
		t.Errorf("without a ticket: %v", err)
	}
	must(t, control.WriteJSON(config.Ticket(name), control.Ticket{BootID: "before", Intent: control.IntentRun}, 0o600))
	if err := Authorized(name); err == nil || !strings.Contains(err.Error(), "earlier boot") {
		t.Errorf("with the ticket of another boot: %v", err)
	}
	boot, err := BootID()
	must(t, err)
	must(t, control.WriteJSON(config.Ticket(name), control.Ticket{BootID: boot, Intent: control.IntentDemote}, 0o600))
	must(t, Authorized(name))

	a := Activation{Instance: config.Instance{Name: name}}
	must(t, a.takeTicket())
	if a.ticket.Intent != control.IntentDemote {
		t.Errorf("took %+v", a.ticket)
	}
	if err := a.takeTicket(); err == nil {
		t.Error("a ticket was good for two activations")
	}
}

func TestRecoveryShowsHowFarItIs(t *testing.T) {
	c := pg.Control{State: pg.InCrashRecovery, Redo: 0x2000028}
	standby := pg.Control{State: pg.InArchiveRecovery, Redo: 0x2000028, MinRecovery: 0x5000000}
	tests := []struct {
		name   string
		c      pg.Control
		at     ha.LSN
		detail string
		done   int64
	}{
		{"the startup process is seen", c, 0x4000000, "PostgreSQL recovers (in crash recovery) from 0/2000028, is at 0/4000000, 1m5s so far", 0x1FFFFD8},
		{"it is not", c, 0, "PostgreSQL recovers (in crash recovery) from 0/2000028, 1m5s so far", 0},
		{"it is in the first segment", c, 0x2000000, "PostgreSQL recovers (in crash recovery) from 0/2000028, 1m5s so far", 0},
		{"a standby", standby, 0x4000000, "PostgreSQL recovers (in archive recovery) from 0/2000028, is at 0/4000000, takes connections at 0/5000000 at the earliest, 1m5s so far", 0x1FFFFD8},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if detail, done := recovery(test.c, test.at, 65*time.Second); detail != test.detail || done != test.done {
				t.Errorf("%q, %d", detail, done)
			}
		})
	}
}

func TestASettingThatCannotBeFollowedIsComplainedOf(t *testing.T) {
	dir := t.TempDir()
	for text, good := range map[string]bool{
		"":                                       true,
		"#synchronous_standby_names = 'ANY 1 ('": true,
		"synchronous_standby_names = 'ANY 1 (*)'": true,
		"synchronous_standby_names = 'ANY 1 (*'":  false,
		"Synchronous_Standby_Names 'two words'":   false,
	} {
		if err := os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte("port = 5432\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkSynchronous(dir); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := checkSynchronous(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}
