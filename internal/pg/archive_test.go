package pg

import (
	"fmt"
	"os"
	"os/exec"
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

// PostgreSQL goes on without the archive where the command ends with a status of 1 to 125, and gives up with others.
func TestAGuardedRestoreCommandEndsNoServer(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		command string
		fetched bool
	}{
		{"cp a b", true},
		{"cp 'a' \"b\" # with a comment", true},
		{`sh -c 'cp a b'`, true},
		{"cp a b; exit 0", true},
		{"cp none b", false},
		{"no_such_program a b", false},
		{"/etc/hostname a b", false}, // cannot be run, status 126
		{"sh -c 'kill -9 $$'", false},
		{"exit 255", false},
		{"cp 'a b", false}, // a quote that does not end
		{"cp a b)", false},
	} {
		must(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
		must(t, removeIfThere(filepath.Join(dir, "b")))
		cmd := exec.Command("sh", "-c", Guarded(c.command)) // as system(3) does
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		_, err := os.Stat(filepath.Join(dir, "b"))
		status := cmd.ProcessState.ExitCode()
		if fetched := err == nil && status == 0; fetched != c.fetched || status < 0 || status > 125 {
			t.Errorf("%s: fetched %v, status %d: %s", c.command, fetched, status, out)
		}
		if Guarded(Guarded(c.command)) != Guarded(c.command) || Unwrapped(Guarded(c.command)) != c.command {
			t.Errorf("%s is guarded twice, or not unwrapped", c.command)
		}
	}
	if got := Guarded(" \t"); got != "" {
		t.Errorf("no command is %q", got)
	}
}

func TestARestoreCommandOfAlterSystemIsGuarded(t *testing.T) {
	s := newServer(t, "a", template)
	c := s.start()
	const command = `cp '/archive/it''s/%f' "%p" \ `
	guarded := func(from string) {
		t.Helper()
		if got, want := ReadConfFiles(s.data).Of(restoreCommand), Guarded(command); got != want || Unguarded(ReadConfFiles(s.data), s.data) != "" {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
		eventually(t, "the guarded command", func() error {
			if got := c.value(t, "SHOW restore_command"); got != Guarded(command) {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	}
	sqlString := "'" + strings.ReplaceAll(command, "'", "''") + "'"
	c.must(t, "ALTER SYSTEM SET restore_command = "+sqlString)
	if got := Unguarded(ReadConfFiles(s.data), s.data); got != command {
		t.Fatalf("%q", got)
	}
	must(t, c.Guard(t.Context(), s.data, command))
	guarded("by ALTER SYSTEM")
	c.must(t, "ALTER SYSTEM SET restore_command = "+sqlString)
	c.must(t, "ALTER SYSTEM SET work_mem = '3MB'")
	must(t, GuardAuto(s.data, command))
	must(t, c.Reload(t.Context()))
	guarded("in the file")
	if got := ReadConfFiles(s.data).Of("work_mem"); got != "3MB" {
		t.Errorf("work_mem is %q", got)
	}
	// What postgresql.conf has comes into force by managed.conf.
	c.must(t, "ALTER SYSTEM RESET restore_command")
	s.add("postgresql.conf", "restore_command = "+quoteSetting(command)+"\n")
	if Unguarded(ReadConfFiles(s.data), s.data) != "" {
		t.Error("a command of postgresql.conf is taken for one of ALTER SYSTEM")
	}
	s.settings.Restore = Guarded(ReadConfFiles(s.data).Main[restoreCommand].Text)
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "the command of postgresql.conf", func() error {
		if got := c.value(t, "SHOW restore_command"); got != Guarded(command) {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}
