package pg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestARewoundPrimaryStreamsAgain(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	ca.must(t, "CREATE TABLE public.t (who text)")
	streaming(t, ca, cb)
	run(t, VerifyBackup(backup(t, a), a.major()))
	must(t, cb.Promote(t.Context()))
	cb.must(t, "INSERT INTO public.t VALUES ('b')")
	must(t, cb.Checkpoint(t.Context())) // pg_rewind reads the source's timeline from its control file
	ca.must(t, "INSERT INTO public.t VALUES ('a')")
	a.crash()

	// What mount points keep, with the links of a kept data directory, is no part of a copy.
	for _, s := range []*server{a, b} {
		kept := s.data + "/pgtwin/pgsql_tmp.replaced-1"
		must(t, os.MkdirAll(kept+"/pg_tblspc", 0o700))
		must(t, os.WriteFile(kept+"/"+s.settings.Name, nil, 0o600))
		space := s.dir + "/space.replaced-1"
		must(t, os.Mkdir(space, 0o700))
		must(t, os.WriteFile(space+"/"+s.settings.Name, nil, 0o600))
		must(t, os.Symlink(space, kept+"/pg_tblspc/1"))
		must(t, exec.Command("chown", "-R", "postgres:", s.data+"/pgtwin", space).Run())
	}
	if found, _ := filepath.Glob(backup(t, b) + "/pgtwin/*"); len(found) > 0 {
		t.Errorf("a base backup has %v", found)
	}
	cb.must(t, "ALTER ROLE ALL SET local_preload_libraries = 'gone'")
	cb.must(t, "ALTER DATABASE postgres SET role = 'pg_monitor'")
	source := b.remote()
	source.PassFile = a.passfile
	out := run(t, Rewind(a.data, source, a.conf+"/postgresql.conf", false))
	if found, _ := filepath.Glob(a.data + "/pgtwin/*"); len(found) > 0 {
		t.Errorf("the rewind left, or copied, %v", found)
	}
	for _, kept := range []string{a.dir + "/space.replaced-1/a", b.data + "/pgtwin/pgsql_tmp.replaced-1/b"} {
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(out, "servers diverged") {
		t.Errorf("pg_rewind: %s", out)
	}
	var copied int64
	for line := range strings.FieldsFuncSeq(out, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if done, total, ok := ParseProgress(line); ok && done <= total {
			copied = done
		}
	}
	if copied == 0 {
		t.Errorf("no progress in %q", out)
	}
	must(t, cb.EnsureSlot(t.Context(), "a"))
	a.follow(b)
	a.settings.Slot = "a"
	ca = a.start()
	streaming(t, cb, ca)
	if got := ca.value(t, "SELECT string_agg(who, ',') FROM public.t"); got != "b" {
		t.Errorf("after the rewind the table has %s", got)
	}
}

// backup takes one more base backup and checks its progress lines.
func backup(t *testing.T, from *server) string {
	t.Helper()
	dir := from.dir + "/backup"
	target := from.remote()
	out := run(t, append(BaseBackup(target, Backup{Dir: dir, MaxRate: 100 << 20}), "--no-sync"))
	lines := strings.FieldsFunc(out, func(r rune) bool { return r == '\r' || r == '\n' })
	i := slices.IndexFunc(lines, func(l string) bool { d, total, ok := ParseProgress(l); return ok && d > 0 && total >= d })
	if i < 0 {
		t.Errorf("no progress in %q", out)
	}
	return dir
}

func TestCrashRecoveryLeavesACleanDirectory(t *testing.T) {
	t.Parallel()
	s := newServer(t, "crashed", template)
	s.start()
	s.crash()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := program(ctx, CrashRecovery(s.data, s.conf+"/postgresql.conf")).CombinedOutput()
	if c, errRead := ReadControl(s.data); err != nil || errRead != nil || c.State != ShutDown {
		t.Errorf("%v, %v, %s: %s", err, errRead, c.State, out)
	}
}

func TestArguments(t *testing.T) {
	from := Target{Host: "10.0.0.2", Port: 5433, User: "repl", Database: "db", PassFile: "/run/my file", ApplicationName: "it's", ConnectTimeout: 1500 * time.Millisecond}
	conn := `host=10.0.0.2 port=5433 user=repl passfile='/run/my file' application_name='it\'s' connect_timeout=2 sslmode=prefer keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=10000`
	toPostgres := strings.Replace(conn, "passfile", "dbname=postgres passfile", 1) + " options='-c role=none -c local_preload_libraries='"
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"base backup", BaseBackup(from, Backup{Dir: "/d", Slot: "s1", MaxRate: 50 << 20}), []string{"pg_basebackup", "--pgdata=/d", "--dbname=" + conn, "--no-password", "--wal-method=stream",
			"--checkpoint=fast", "--manifest-checksums=CRC32C", "--progress", "--slot=s1", "--max-rate=51200k"}},
		{"base backup with tablespaces", BaseBackup(from, Backup{Dir: "/d", WALDir: "/w", Tablespaces: []Mapping{{"/a=b", "/new"}}}), []string{"pg_basebackup",
			"--pgdata=/d", "--dbname=" + conn, "--no-password", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=CRC32C", "--progress",
			"--waldir=/w", `--tablespace-mapping=/a\=b=/new`}},
		{"verification", VerifyBackup("/d", 15), []string{"pg_verifybackup", "--quiet", "--exit-on-error", "/d"}},
		{"verification with progress", VerifyBackup("/d", 16), []string{"pg_verifybackup", "--progress", "--exit-on-error", "/d"}},
		{"rewind", Rewind("/d", from, "/c", false), []string{"pg_rewind", "--target-pgdata=/d", "--source-server=" + toPostgres, "--progress", "--config-file=/c"}},
		{"rewind of PostgreSQL 14", Rewind("/d", from, "", false), []string{"pg_rewind", "--target-pgdata=/d", "--source-server=" + toPostgres, "--progress"}},
		{"rewind with an archive", Rewind("/d", from, "/c", true), []string{"pg_rewind", "--target-pgdata=/d", "--source-server=" + toPostgres, "--progress", "--config-file=/c", "--restore-target-wal"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, c.got, c.want)
		}
		if slices.ContainsFunc(c.got, func(a string) bool { return a == "-R" || a == "--write-recovery-conf" }) {
			t.Errorf("%s writes recovery settings", c.name)
		}
	}
}

func TestParseProgress(t *testing.T) {
	for _, c := range []struct {
		line        string
		done, total int64
		ok          bool
	}{
		{"12345/67890 kB (18%), 0/1 tablespace", 12345 << 10, 67890 << 10, true},
		{"    7/67890 kB (0%), 0/1 tablespace (/var/lib/pgsql/data/base/1/2)", 7 << 10, 67890 << 10, true},
		{"  4096/ 8192 kB (50%) copied", 4096 << 10, 8192 << 10, true},
		{"  8192/8192 kB (100%) verified", 8192 << 10, 8192 << 10, true},
		{"waiting for checkpoint", 0, 0, false},
		{"pg_rewind: servers diverged at WAL location 0/3000000 on timeline 1", 0, 0, false},
		{"", 0, 0, false},
	} {
		if done, total, ok := ParseProgress(c.line); done != c.done || total != c.total || ok != c.ok {
			t.Errorf("%q: %d, %d, %v", c.line, done, total, ok)
		}
	}
}

func TestTheExtentIsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	s := newServer(t, "extent", template)
	c := s.start()
	space := s.dir + "/space"
	must(t, os.Mkdir(space, 0o700))
	uid, gid := postgresUser()
	must(t, os.Chown(space, uid, gid))
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	c.must(t, "CREATE TABLESPACE elsewhere LOCATION '"+space+"'")
	c.must(t, "CREATE TABLE public.t TABLESPACE elsewhere AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
	c.must(t, "CHECKPOINT")
	e, err := AskExtent(t.Context(), s.remote())
	must(t, err)
	if len(e.Tablespaces) != 1 || e.Tablespaces[0].Location != space {
		t.Fatalf("tablespaces %+v", e.Tablespaces)
	}
	for _, part := range []struct {
		dir string
		got int64
	}{{space, e.Tablespaces[0].Size}, {s.data + "/pg_wal", e.WAL}, {s.data, e.Main + e.WAL}} {
		// Directories are not counted, and the statistics are written now and then.
		if want := usage(t, part.dir); part.got < want*95/100-1<<20 || part.got > want+1<<20 {
			t.Errorf("%s takes %d bytes, the server said %d", part.dir, want, part.got)
		}
	}
}

// usage is what du says.
func usage(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	out, err := exec.Command("du", "--summarize", "--block-size=1", dir).Output()
	must(t, err)
	_, err = fmt.Sscan(string(out), &bytes)
	must(t, err)
	return bytes
}
