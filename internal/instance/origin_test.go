package instance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// What the data were is known at the first start alone: from then on every
// server is a standby.
func TestTheOriginOfTheDataOutlivesTheirFirstStart(t *testing.T) {
	none, recorded := ha.Arrival{Ended: ha.Clean}, ha.Arrival{Ended: ha.Clean, Epoch: ha.Epoch{Number: 1}}
	tests := []struct {
		name     string
		arrivals []ha.Arrival
		signal   bool // standby.signal is there before the first start
		founder  bool
	}{
		{"a primary's", []ha.Arrival{none}, false, true},
		{"a crashed primary's", []ha.Arrival{{Ended: ha.Crashed}}, false, true},
		{"a primary's, started again", []ha.Arrival{none, {Ended: ha.Replaying}}, false, true},
		{"a standby's", []ha.Arrival{{Ended: ha.Replaying}}, true, false},
		{"a standby's by its control file alone", []ha.Arrival{{Ended: ha.Replaying}}, false, false},
		{"a standby's by its signal file alone", []ha.Arrival{none}, true, false},
		{"after a promotion is recorded it does not count any more", []ha.Arrival{none, recorded}, false, false},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := fmt.Sprintf("origintest-%d-%d", os.Getpid(), n)
			t.Cleanup(func() { os.RemoveAll(config.StateDir(name)) })
			a := &Activation{Instance: config.Instance{Name: name, PGData: t.TempDir()}}
			signal := filepath.Join(a.Instance.PGData, "standby.signal")
			for _, err := range []error{os.MkdirAll(config.StateDir(name), 0o755), touchIf(tt.signal, signal)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, arrival := range tt.arrivals {
				if err := a.noteOrigin(arrival); err != nil {
					t.Fatal(err)
				}
				if err := touchIf(true, signal); err != nil { // readyData
					t.Fatal(err)
				}
			}
			if got := exists(config.FounderFile(name)); got != tt.founder {
				t.Errorf("founder: %t, want %t", got, tt.founder)
			}
		})
	}
}

// After a promotion a primary has standby.signal, too.
func TestAPrimarysDataFoundAgainWithTheirSignalFile(t *testing.T) {
	name := newName(t)
	a := &Activation{Instance: config.Instance{Name: name, PGData: t.TempDir()}}
	must(t, pg.GuardPrimary(a.Instance.PGData))
	must(t, a.noteOrigin(ha.Arrival{Ended: ha.Clean}))
	if !exists(config.FounderFile(name)) {
		t.Error("the database that left pgtwin does not found again")
	}
}

func touchIf(wanted bool, path string) error {
	if !wanted {
		return nil
	}
	return os.WriteFile(path, nil, 0o600)
}
