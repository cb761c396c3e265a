package instance

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
)

// servers is a runtime that runs PostgreSQL as a process of the test.
type servers struct {
	programs
	argv  []string // of the last one
	ended chan struct{}
}

func (r *servers) Start(_ context.Context, s runtime.Spec) (runtime.Started, error) {
	r.argv = s.Argv
	cmd := program(append(slices.Clone(s.Argv), "-c", "fsync=off"))
	if err := cmd.Start(); err != nil {
		return runtime.Started{}, err
	}
	ended := make(chan struct{})
	r.ended = ended
	go func() { cmd.Wait(); close(ended) }()
	return runtime.Started{PID: cmd.Process.Pid}, nil
}

func (r *servers) stop(t *testing.T, data string) {
	t.Helper()
	must(t, postmaster.Shutdown(context.Background(), data, slog.New(slog.DiscardHandler), postmaster.Ladder{Fast: 20 * time.Second, Immediate: 5 * time.Second}))
	<-r.ended
}

// activate is an activation of a copy of the template whose files have these settings more.
func activate(t *testing.T, settings string) (*Activation, *servers, *bytes.Buffer) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-lowering-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	o, data := postgres(), filepath.Join(dir, "data")
	must(t, os.Chown(dir, int(o.uid), int(o.gid)))
	must(t, exec.Command("cp", "-a", template, data).Run())
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = conf.WriteString("\n" + settings)
	must(t, err)
	must(t, conf.Close())
	log := &bytes.Buffer{}
	a := New(config.Instance{Name: newName(t), Node: "h1", PGData: data, Port: 54329, User: "postgres", SocketDir: dir, RepMode: "sync"},
		nil, slog.New(slog.NewTextHandler(log, nil)))
	r := &servers{}
	a.runtime, a.owner, a.credential, a.members = r, o, replicator, 2
	return a, r, log
}

func TestALoweredSettingIsTakenIntoUseByTheHostThatIsPromoted(t *testing.T) {
	a, r, log := activate(t, "max_connections = 20\nrecovery_target_xid = '5'\n")
	must(t, os.WriteFile(filepath.Join(a.Instance.PGData, "recovery.signal"), nil, 0o600))
	own := ha.Arrival{Self: "h1", Epoch: ha.Epoch{Number: 3, Node: "h1"}, Ended: ha.Clean}
	others := own
	others.Epoch.Node = "h2"
	granted, forced := others, others
	granted.Epoch.Number, granted.Granted = 4, true
	forced.Epoch.Number, forced.Forced = 5, true
	for _, c := range []struct {
		name    string
		arrival ha.Arrival
		lowered bool
	}{
		{"a standby that is complete stays one that answers", others, false},
		{"the last primary starts without sessions", own, true},
		{"once an epoch", own, false},
		{"Pacemaker promotes this host", granted, true},
		{"the administrator accepts what is lost", forced, true},
		{"no promotion is recorded yet", ha.Arrival{Self: "h1", Granted: true}, false},
	} {
		must(t, a.readyData())
		must(t, a.configure(c.arrival))
		_, err := a.launch(t.Context(), c.arrival)
		must(t, err)
		raised, off := slices.Contains(r.argv, "max_connections=100"), slices.Contains(r.argv, "hot_standby=off")
		if a.progress.HotStandbyOff != c.lowered || off != c.lowered || raised == c.lowered || a.progress.Lowering != raised {
			t.Errorf("%s: hot_standby off %v, max_connections raised %v: %+v", c.name, off, raised, a.progress)
		}
		r.stop(t, a.Instance.PGData)
	}
	a.Instance.RepMode = string(ha.Strict)
	own.Epoch.Number = 6
	must(t, a.readyData())
	must(t, a.configure(own))
	_, err := a.launch(t.Context(), own)
	must(t, err)
	if a.progress.HotStandbyOff || a.progress.Lowering {
		t.Errorf("a promotion with rep_mode=strict needs a session: %+v", a.progress)
	}
	r.stop(t, a.Instance.PGData)
	for _, sentence := range []string{"set rep_mode=sync, restart all hosts together", "says \\\"20\\\", 100 is in force", "hot_standby=off", "recovery_target_xid in ", "removed recovery.signal"} {
		if !strings.Contains(log.String(), sentence) {
			t.Errorf("%q is not logged: %s", sentence, log)
		}
	}
}

// A start with the lower values that PostgreSQL refuses, whatever for, is followed by an ordinary one: a
// start that fails would be final to Pacemaker.
func TestALoweringThatFailsDoesNotFailTheStart(t *testing.T) {
	a, r, log := activate(t, "max_connections = 2\nsuperuser_reserved_connections = 3\n") // too few for PostgreSQL
	own := ha.Arrival{Self: "h1", Epoch: ha.Epoch{Number: 3, Node: "h1"}, Ended: ha.Clean}
	must(t, a.readyData())
	must(t, a.configure(own))
	_, err := a.launch(t.Context(), own)
	must(t, err)
	defer r.stop(t, a.Instance.PGData)
	if a.progress.HotStandbyOff || !slices.Contains(r.argv, "hot_standby=on") || !strings.Contains(log.String(), "that the WAL requires instead") {
		t.Errorf("%q: %s", r.argv, log)
	}
}

func TestDataOfMinimalWALAreRefusedOnceAPromotionIsRecorded(t *testing.T) {
	a, r, _ := activate(t, "wal_level = minimal\nmax_wal_senders = 0\n")
	patchControl(t, a.Instance.PGData, 172, 0) // wal_level, and wal_log_hints behind it
	err := a.raiseLevel(t.Context(), ha.Arrival{Epoch: ha.Epoch{Number: 1, Node: "h1"}})
	if err == nil || !strings.Contains(err.Error(), "set wal_level = replica") {
		t.Error(err)
	}
	must(t, a.raiseLevel(t.Context(), ha.Arrival{}))
	if !slices.Equal(r.ran, []string{"postgres"}) {
		t.Errorf("ran %q", r.ran)
	}
}

func TestValidateAllSaysWhatIsOverruled(t *testing.T) {
	a, _, log := activate(t, "fsync = off\nfull_page_writes = true\nsynchronous_commit = local\nmax_wal_senders = 1\nhot_standby = on\n")
	must(t, checkSettings(t.Context(), a.Instance, a.Log))
	for _, sentence := range []string{"fsync in ", "synchronous_commit in ", "max_wal_senders: "} {
		if !strings.Contains(log.String(), sentence) {
			t.Errorf("%q is not said: %s", sentence, log)
		}
	}
	if strings.Contains(log.String(), "full_page_writes") || strings.Contains(log.String(), "hot_standby in") {
		t.Errorf("what is as it should be is complained of: %s", log)
	}
	s, err := Settings(a.Instance, replicator, "", nil)
	if err != nil || s.SynchronousCommit != "on" || !slices.ContainsFunc(s.Raised, func(r pg.Raised) bool { return r.Name == "max_wal_senders" }) {
		t.Errorf("%+v, %v", s, err)
	}
	a.Instance.RepMode = "async"
	if s, err := Settings(a.Instance, replicator, "", nil); err != nil || s.SynchronousCommit != "" {
		t.Errorf("%+v, %v", s, err)
	}
}
