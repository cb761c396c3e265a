package pg

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

// nextToOthers is a server whose names need quoting.
func nextToOthers(pgdata string) Settings {
	return Settings{Name: "postgres-ha", Major: 17, ConfDir: "/var/lib/pgtwin/postgres-ha/conf", PGData: pgdata, Port: 5433,
		SocketDir: "/run/postgresql", User: "postgres", OSUser: "pgowner", ReplicationUser: "repl",
		ReplicationHosts: []string{"10.0.0.1", "fd00::1", "10.1.0.0/16", "h2.example"},
		Upstream:         &Target{Host: "h2", Port: 5433, User: "repl", Database: "postgres", PassFile: "/run/pg's/pass", ApplicationName: "h1"},
		Slot:             "pgtwin_h1", Synchronous: []string{"h2"}, MaxSlotWALKeepSize: 10240, WALTimeout: 7500 * time.Millisecond}
}

func TestConfigurationFiles(t *testing.T) {
	golden(t, "standby.managed.conf", Managed(nextToOthers(`/srv/pg\data`)))
	logical := nextToOthers("/srv/data")
	logical.Failover, logical.SynchronizedSlots = true, []string{"ha_slot_h2", "ha_slot_h3"}
	golden(t, "logical.managed.conf", Managed(logical))
	logical.Major, logical.Upstream = 16, nil
	if conf := Managed(logical); strings.Contains(conf, "sync_replication_slots") {
		t.Errorf("PostgreSQL 16 knows no such setting:\n%s", conf)
	}
	golden(t, "alone.managed.conf", Managed(Settings{Name: "a", PGData: "/d", Port: 5432, SocketDir: "/s", ConfDir: "/c"}))
	for _, major := range []int{15, 16} {
		s := nextToOthers("testdata/pgdata")
		s.Major = major
		hba, err := hbaConf(s)
		must(t, err)
		ident, err := identConf(s)
		must(t, err)
		name := map[int]string{15: "copied", 16: "included"}[major]
		golden(t, name+".pg_hba.conf", hba)
		golden(t, name+".pg_ident.conf", ident)
	}
	golden(t, "postgresql.conf", mainConf(nextToOthers("/srv/it's")))
}

func TestEveryManagedNameIsCleanedFromAutoConf(t *testing.T) {
	names := ManagedNames()
	for _, name := range []string{"primary_conninfo", "primary_slot_name", "synchronous_standby_names", "recovery_target_timeline", "port", "hba_file"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(ManagedNames()) {
		t.Error("a setting is managed twice")
	}
}

func TestWriteConfWritesOnlyWhatDiffers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	s := nextToOthers("/srv/pgdata")
	modified := func(name string) (stamp time.Time) {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode() != 0o640 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return info.ModTime()
	}
	write := func(want bool) {
		t.Helper()
		if changed, err := WriteConf(dir, s, 4321, 8765); err != nil || changed != want {
			t.Errorf("changed %v, %v", changed, err)
		}
	}
	write(true)
	hba, managed := modified("pg_hba.conf"), modified("managed.conf")
	write(false)
	s.Synchronous = nil
	write(true)
	if !modified("pg_hba.conf").Equal(hba) || modified("managed.conf").Equal(managed) {
		t.Error("not exactly managed.conf was written")
	}
	must(t, os.Chmod(filepath.Join(dir, "pg_ident.conf"), 0o666))
	write(true)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestSynchronousNames(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"h2"}, `"h2"`},
		{[]string{"first", `a"b`}, `FIRST 2 ("first", "a""b")`},
	} {
		if got := SynchronousNames(c.names); got != c.want {
			t.Errorf("%q: %s", c.names, got)
		}
	}
}
