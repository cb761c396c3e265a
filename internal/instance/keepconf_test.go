package instance

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"pgtwin/internal/config"
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
