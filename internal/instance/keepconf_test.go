package instance

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// The server of the source may not read files outside of its data directory for a replication role, so each of them is a lack.
func TestAFileThatIsOptionalDoesNotKeepAHostFromBeingCloned(t *testing.T) {
	denied := errors.New("absolute path not allowed")
	here, gone := t.TempDir(), filepath.Join(t.TempDir(), "tuning.conf")
	tests := []struct {
		name   string
		lack   pg.Lack
		wants  string // of the refusal; "": none
		warned bool
	}{
		{"required", pg.Lack{Path: gone, By: "postgresql.conf", Err: denied}, gone, false},
		{"optional", pg.Lack{Path: gone, By: "postgresql.conf", Err: denied, Optional: true}, "", true},
		{"required, and here", pg.Lack{Path: here, By: "postgresql.conf", Err: denied}, "", false},
		{"in the data directory, and so copied", pg.Lack{Path: "/srv/data/conf.d/a.conf", By: "postgresql.conf", Err: denied}, "", false},
		{"required, and not there on the source either", pg.Lack{Path: gone, By: "postgresql.conf", Err: fs.ErrNotExist}, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log strings.Builder
			a := New(config.Instance{Name: "x", PGData: "/srv/data"}, nil, slog.New(slog.NewTextHandler(&log, nil)))
			err := a.haveOutside("h1", pg.SourceFiles{Known: true, Configuration: pg.Configuration{Lacks: []pg.Lack{test.lack}}})
			if (err != nil) != (test.wants != "") || err != nil && (!errors.Is(err, errNotBegun) || !strings.Contains(err.Error(), test.wants)) {
				t.Errorf("error %v", err)
			}
			if warned := strings.Contains(log.String(), "settings may differ"); warned != test.warned {
				t.Errorf("log %q", log.String())
			}
		})
	}
}

// pg_rewind removes what the source does not have. A primary goes on without the files that it has read at its start.
func TestARewindKeepsTheRulesThatThePrimaryLacks(t *testing.T) {
	port := startPrimary(t)
	source, err := postmasterData(port)
	must(t, err)
	a, r := arriveReal(t, port)
	crashedPrimary(t, a)
	rules := map[string]string{"pg_hba.conf": "host all app all scram-sha-256\n", "pg_ident.conf": "people anna app\n"}
	for name, line := range rules {
		must(t, os.Remove(filepath.Join(source, name)))
		appendTo(t, filepath.Join(a.Instance.PGData, name), line)
	}
	ready(t, a)
	if a.plan.Course != ha.Rewind || slices.Contains(r.ran, "pg_basebackup") {
		t.Errorf("%s (%s), ran %v", a.plan.Course, a.plan.Why, r.ran)
	}
	for name, line := range rules {
		if text, err := os.ReadFile(filepath.Join(a.Instance.PGData, name)); err != nil || !strings.Contains(string(text), line) {
			t.Errorf("%s lacks %q: %v", name, line, err)
		}
	}
}
