package instance

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/runtime"
)

// ready is an instance of host mode that has all that validate-all asks for, with the default pg_bindir.
func ready(t *testing.T) config.Instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-check-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	o, data, passFile := postgres(), filepath.Join(dir, "data"), filepath.Join(dir, "pgpass")
	must(t, os.Chown(dir, int(o.uid), int(o.gid)))
	must(t, exec.Command("cp", "-a", template, data).Run())
	must(t, os.WriteFile(passFile, []byte("*:*:replication:replicator:secret\n"), 0o600))
	return config.Instance{Name: newName(t), Node: "h1", User: "postgres", PGData: data, PassFile: passFile, BinDir: runtime.DefaultBinDir, Port: 5432}
}

func TestTheHostsProgramsAreChecked(t *testing.T) {
	few := t.TempDir()
	for _, name := range []string{"postgres", "initdb"} {
		must(t, os.Symlink(filepath.Join(bindir, name), filepath.Join(few, name)))
	}
	for _, c := range []struct {
		name   string
		spoil  func(*config.Instance)
		code   ocf.Code
		says   []string
		passes bool
	}{
		{"the default directory", func(*config.Instance) {}, 0, nil, true},
		{"the right one", func(i *config.Instance) { i.BinDir = bindir }, 0, nil, true},
		{"one that lacks programs", func(i *config.Instance) { i.BinDir = few }, ocf.ErrInstalled,
			[]string{"pg_basebackup, pg_rewind, pg_verifybackup, pg_waldump", few, "install postgresql-", "pg_bindir"}, false},
		{"one that is not there", func(i *config.Instance) { i.BinDir = "/nowhere" }, ocf.ErrInstalled, []string{"cannot find postgres", "/nowhere"}, false},
		{"data of a major version that this host has not", func(i *config.Instance) { spoilVersion(t, i) }, ocf.ErrInstalled,
			[]string{"of PostgreSQL 99", "install postgresql-99", "postgresql99-server"}, false},
		{"programs of another major version", func(i *config.Instance) { spoilVersion(t, i); i.BinDir = bindir }, ocf.ErrArgs,
			[]string{"was made by PostgreSQL 99"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := ready(t)
			c.spoil(&i)
			err := Check(t.Context(), i, slog.New(slog.DiscardHandler))
			if c.passes {
				must(t, err)
				return
			}
			var failure *Failure
			if !errors.As(err, &failure) || failure.Code != c.code {
				t.Fatalf("error %v", err)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %v, want one that says %q", err, says)
				}
			}
		})
	}
}

func spoilVersion(t *testing.T, i *config.Instance) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(i.PGData, "PG_VERSION"), []byte("99\n"), 0o600))
}
