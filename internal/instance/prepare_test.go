package instance

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// arrive is an activation on h2 as it comes to prepare the data directory, which is empty.
func arrive(t *testing.T, epoch ha.Epoch, port int) (*Activation, *programs) {
	t.Helper()
	name, programs := newName(t), &programs{}
	i := config.Instance{Name: name, Node: "h2", PGData: filepath.Join(t.TempDir(), "data"), User: "postgres", Port: port,
		Addresses: map[string]string{"h1": "127.0.0.1"}, SlotName: "ha_slot", SocketDir: t.TempDir(), BasebackupTimeout: time.Minute}
	view := cluster.View{Quorate: true, Epoch: epoch, Nodes: []ha.Membership{{Node: "h1", ID: 1, Online: true}, {Node: "h2", ID: 2, Online: true}}}
	a := New(i, pacemaker{view}, slog.New(slog.DiscardHandler))
	a.began, a.runtime, a.owner, a.credential = time.Now(), programs, postgres(), replicator
	must(t, pg.WritePassFile(config.PassFileCopy(name), replicator, a.owner.uid, a.owner.gid))
	return a, programs
}

// withData gives the activation the database of a primary that was shut down on timeline 1.
func (a *Activation) withData(t *testing.T) {
	t.Helper()
	must(t, exec.Command("cp", "-a", template, a.Instance.PGData).Run())
}

const (
	controlSystem = 0  // the system identifier in the control file
	controlState  = 16 // DBState, and the padding after it
	// data_checksum_version, and a byte of what follows it
	controlChecksums = 252
)

func TestPrepare(t *testing.T) {
	port := startPrimary(t)
	recorded := epochOf(t, "h1")
	tests := []struct {
		name  string
		epoch ha.Epoch
		given func(*testing.T, *Activation, *programs)
		ran   []string
		kept  bool // the old data
	}{
		{"an empty host that was chosen founds the cluster", ha.Epoch{}, func(t *testing.T, a *Activation, _ *programs) {
			must(t, os.WriteFile(config.Grant(a.Instance.Name), nil, 0o600))
		}, []string{"initdb"}, false},
		{"an empty host clones the primary", recorded, func(*testing.T, *Activation, *programs) {}, []string{"pg_basebackup", "pg_verifybackup"}, false},
		{"data that are part of the primary's history are started", recorded, func(t *testing.T, a *Activation, _ *programs) { a.withData(t) }, nil, false},
		{"a primary that crashed is rewound", recorded, func(t *testing.T, a *Activation, _ *programs) {
			a.withData(t)
			patchControl(t, a.Instance.PGData, controlState, uint64(pg.InProduction))
		}, []string{"pg_waldump", "pg_rewind"}, false},
		{"where the rewind fails it is cloned, and the old data are kept", recorded, func(t *testing.T, a *Activation, p *programs) {
			a.withData(t)
			patchControl(t, a.Instance.PGData, controlState, uint64(pg.InProduction))
			p.fail = "pg_rewind"
		}, []string{"pg_waldump", "pg_rewind", "pg_basebackup", "pg_verifybackup"}, true},
		{"data that pg_rewind would refuse are cloned, and what they lose is read first", recorded, func(t *testing.T, a *Activation, _ *programs) {
			a.withData(t)
			patchControl(t, a.Instance.PGData, controlState, uint64(pg.InProduction))
			patchControl(t, a.Instance.PGData, controlChecksums, 0)
		}, []string{"pg_waldump", "pg_basebackup", "pg_verifybackup"}, true},
		{"what was begun before a crash is cloned, never started", recorded, func(t *testing.T, a *Activation, _ *programs) {
			a.withData(t)
			must(t, storage.Mark(config.MarkerFile(a.Instance.Name), "rewind"))
		}, []string{"pg_basebackup", "pg_verifybackup"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, programs := arrive(t, test.epoch, port)
			test.given(t, a, programs)
			arrival, err := a.prepare(t.Context())
			must(t, err)
			if !slices.Equal(programs.ran, test.ran) {
				t.Errorf("ran %v, want %v", programs.ran, test.ran)
			}
			if !arrival.Data || arrival.System != systemOf(t, template) {
				t.Errorf("arrived with %+v", arrival)
			}
			if programs.fail == "pg_rewind" && !strings.Contains(a.plan.Why, "the rewind failed: pg_rewind failed with status 1: pg_rewind: error: of the test") {
				t.Errorf("cloned because %s", a.plan.Why)
			}
			if _, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name)); marked || err != nil {
				t.Errorf("the marker is left: %v", err)
			}
			kept, err := storage.Kept(a.Instance.PGData)
			if err != nil || len(kept) > 0 != test.kept {
				t.Errorf("kept %v, %v", kept, err)
			}
		})
	}
}

func TestAnotherClustersDataAreNotTouched(t *testing.T) {
	a, programs := arrive(t, epochOf(t, "h1"), 1)
	a.withData(t)
	patchControl(t, a.Instance.PGData, controlSystem, 42)
	_, err := a.prepare(t.Context())
	var failure *Failure
	if !errors.As(err, &failure) || failure.Code != ocf.ErrArgs {
		t.Errorf("error %v", err)
	}
	if systemOf(t, a.Instance.PGData) != 42 || len(programs.ran) > 0 {
		t.Errorf("ran %v", programs.ran)
	}
}

func TestPrepareWaits(t *testing.T) {
	tests := []struct {
		name  string
		epoch ha.Epoch
	}{
		{"to be chosen to found the cluster", ha.Epoch{}},
		{"for a primary that does not answer", epochOf(t, "h1")},
		{"where the last primary's data are gone", epochOf(t, "h2")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, programs := arrive(t, test.epoch, 1) // nobody listens on port 1
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := a.prepare(ctx); err == nil || len(programs.ran) > 0 {
				t.Errorf("ran %v, error %v", programs.ran, err)
			}
			var p control.Progress
			must(t, control.ReadJSON(config.ProgressFile(a.Instance.Name), &p))
			if p.Phase != control.PhaseWaiting || p.Detail == "" {
				t.Errorf("progress %+v", p)
			}
		})
	}
}

func TestAFailedCloneLeavesTheOldData(t *testing.T) {
	port := startPrimary(t)
	a, programs := arrive(t, epochOf(t, "h1"), port)
	a.withData(t)
	patchControl(t, a.Instance.PGData, controlState, uint64(pg.InProduction))
	programs.fail = "pg_verifybackup"
	if err := a.clone(t.Context(), ha.Arrival{Epoch: epochOf(t, "h1")}, "a test"); err == nil {
		t.Error("a copy that is not verified was taken")
	}
	if c, err := pg.ReadControl(a.Instance.PGData); err != nil || c.State != pg.InProduction {
		t.Errorf("the data directory was replaced: %v, %v", c.State, err)
	}
}

// A marker would have the next activation take what was not read for read.
func TestAStopWhileLostCommitsAreReadLeavesNoMarker(t *testing.T) {
	a, programs := arrive(t, epochOf(t, "h1"), startPrimary(t))
	a.withData(t)
	patchControl(t, a.Instance.PGData, controlState, uint64(pg.InProduction))
	arrival, err := a.look(t.Context())
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, work := range []func(context.Context, ha.Arrival, string) error{a.rewind, a.clone} {
		if err := work(ctx, arrival, "a test"); err == nil {
			t.Error("an activation that was told to stop goes on")
		}
	}
	if _, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name)); marked || err != nil || slices.Contains(programs.ran, "pg_rewind") {
		t.Errorf("marked: %t, %v, ran %v", marked, err, programs.ran)
	}
	if events, err := control.ReadHistory(config.HistoryFile(a.Instance.Name)); err != nil || len(events) > 0 {
		t.Errorf("noted %v, %v", events, err)
	}
}
