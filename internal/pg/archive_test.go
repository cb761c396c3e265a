package pg

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgtwin/internal/postmaster"
)

func TestARewindFetchesFromTheArchiveWhatIsGone(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	must(t, cb.Promote(t.Context()))
	must(t, cb.Checkpoint(t.Context()))
	ca.must(t, "CREATE TABLE public.t (who text)")
	ca.must(t, "SELECT pg_switch_wal()")
	must(t, ca.Checkpoint(t.Context())) // a crash recovery needs nothing before it, the rewind does
	a.crash()

	archive := filepath.Join(a.dir, "archive")
	must(t, os.Mkdir(archive, 0o755))
	c, err := ReadControl(a.data)
	must(t, err)
	moved := 0
	for _, path := range glob(t, filepath.Join(a.data, "pg_wal", "0000*")) {
		if at, ok := SegmentStart(filepath.Base(path), c.SegmentSize); ok && at+mib <= c.Redo {
			must(t, os.Rename(path, filepath.Join(archive, filepath.Base(path))))
			moved++
		}
	}
	if moved == 0 {
		t.Fatal("nothing is before the checkpoint")
	}
	if MayRestore(a.data) {
		t.Error("there is a restore_command already")
	}
	conf, err := os.ReadFile(filepath.Join(a.data, "postgresql.conf"))
	must(t, err)
	command := "cp " + archive + "/%f %p"
	must(t, os.WriteFile(filepath.Join(a.data, "postgresql.conf"), append(conf, "\nrestore_command = '"+command+"'\n"...), 0o600))
	if !MayRestore(a.data) {
		t.Error("restore_command is not seen")
	}
	if got := run(t, RestoreCommand(a.data, a.conf+"/postgresql.conf")); got != command+"\n" {
		t.Errorf("restore_command is %q, want %q", got, command)
	}
	source := b.remote()
	source.PassFile = a.passfile
	if out, err := program(t.Context(), Rewind(a.data, source, a.conf+"/postgresql.conf", false)).CombinedOutput(); err == nil {
		t.Errorf("the rewind does not need the archive: %s", out)
	}
	if out := run(t, Rewind(a.data, source, a.conf+"/postgresql.conf", true)); !strings.Contains(out, "Done!") {
		t.Errorf("pg_rewind: %s", out)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	must(t, err)
	return paths
}

func TestWhetherThereMayBeAnArchive(t *testing.T) {
	tests := []struct {
		name, file, text string
		want             bool
	}{
		{"none", "postgresql.conf", "#restore_command = ''\nport = 5432\n", false},
		{"set", "postgresql.conf", "  restore_command='cp'\n", true},
		{"set by ALTER SYSTEM", "postgresql.auto.conf", "restore_command = 'cp'\n", true},
		{"perhaps in a file that is taken in", "postgresql.conf", "include_dir = 'conf.d'\n", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o600))
			if got := MayRestore(dir); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}

// TestAStandbyShowsWhatItReplays guards the title of the startup process, by which the progress of a recovery is shown.
func TestAStandbyShowsWhatItReplays(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	ca.must(t, "SELECT pg_switch_wal()")
	ca.must(t, "CREATE TABLE public.t (who text)")
	streaming(t, ca, cb)
	want := ca.value(t, "SELECT pg_walfile_name(pg_current_wal_lsn())")
	eventually(t, "the title of "+want, func() error {
		got, err := postmaster.Recovering(b.data)
		if err == nil && got != want {
			err = fmt.Errorf("it is %q", got)
		}
		return err
	})
	if got, err := postmaster.Recovering(a.data); got != "" || err != nil {
		t.Errorf("a primary recovers %q, %v", got, err)
	}
}
