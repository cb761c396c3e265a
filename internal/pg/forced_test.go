package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestServerArguments(t *testing.T) {
	raised := []Raised{{Name: "max_connections", Value: "300"}, {Name: "wal_level", Value: "replica"}}
	golden(t, "server.argv", strings.Join(Server{PGData: "/srv/data", ConfigFile: "/conf/postgresql.conf", Major: 15, Raised: raised}.Argv(), "\n")+"\n")
	golden(t, "lowered.argv", strings.Join(Server{PGData: "/srv/data", ConfigFile: "/conf/postgresql.conf", Major: 17, HotStandbyOff: true}.Argv(), "\n")+"\n")
}

// leave appends to a file of the administrator's.
func (s *server) leave(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.data, name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	must(s.t, err)
	_, err = f.WriteString("\n" + text)
	must(s.t, errors.Join(err, f.Close()))
}

// A server that was stopped in the middle of its work is started as a standby and promoted, with what
// could end recovery early, or hold it up, in each place where it can be: all that was committed is there.
func TestNothingInTheFilesEndsRecoveryEarly(t *testing.T) {
	holding := "recovery_min_apply_delay = '1h'\nrecovery_end_command = 'sleep 3600'\nhot_standby = off\nrecovery_target_timeline = 'current'\n"
	if newServer(t, "major", "").major() < firstWithoutTrigger {
		holding += "promote_trigger_file = '/proc/self/exe'\n"
	}
	for file, settings := range map[string]string{
		"postgresql.conf": "recovery_target = 'immediate'\nrecovery_target_time = '2023-01-27 00:00:00+00'\nrecovery_target_xid = '750'\n" +
			"recovery_target_lsn = '0/1'\nrecovery_target_name = 'before'\nrecovery_target_action = 'shutdown'\nrecovery_target_inclusive = off\n",
		"postgresql.auto.conf": "recovery_target_time = '2023-01-27 00:00:00+00'\nrecovery_target_action = 'promote'\n",
		"included.conf":        holding,
	} {
		t.Run(file, func(t *testing.T) { recoversAll(t, settings, file) })
	}
}

func recoversAll(t *testing.T, setting, file string) {
	s := newServer(t, "target", template)
	c := s.start()
	c.must(t, "CREATE TABLE public.t (i int)")
	c.must(t, "SELECT pg_create_restore_point('before')")
	c.must(t, "INSERT INTO public.t VALUES (1)")
	c.must(t, "INSERT INTO public.t VALUES (2)")
	s.crash()
	if file == "included.conf" {
		s.leave("postgresql.conf", "include 'included.conf'\n")
	}
	s.leave(file, setting)
	must(t, SetStandbySignal(s.data))
	c = s.start()
	if !c.lookNow(t).InRecovery {
		t.Fatal("it has promoted itself")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, c.Promote(ctx))
	if n := c.value(t, "SELECT count(*)::text FROM public.t"); n != "2" {
		t.Errorf("of 2 commits %s are there", n)
	}
	if pending := c.lookNow(t).PendingRestart; file != "postgresql.auto.conf" && pending != nil {
		t.Errorf("%q waits for a restart, which would change nothing", pending)
	}
}

func TestAStandbyWithAnOldTargetReplaysWhatIsAcknowledged(t *testing.T) {
	a := newServer(t, "a", template)
	a.leave("postgresql.conf", "synchronous_commit = local\nfsync = off\nfull_page_writes = off\n")
	a.leave("postgresql.auto.conf", "recovery_target_time = '2026-01-01 00:00:00+00'\nrecovery_target_action = 'promote'\n")
	a.settings.SynchronousCommit = "on"
	ca := a.start()
	if got := ca.value(t, "SELECT current_setting('full_page_writes')"); got != "on" {
		t.Errorf("full_page_writes is %s", got)
	}
	ca.must(t, "CREATE TABLE public.t (i int)")
	_, cb := standbyOf(a, ca, "b")
	a.settings.Synchronous = []string{"b"}
	a.configure()
	must(t, ca.Reload(t.Context()))
	streaming(t, ca, cb)
	if got := run(t, []string{"psql", "-h", a.dir, "-p", fmt.Sprint(a.settings.Port), "-U", "postgres", "-XAtc", "SHOW synchronous_commit"}); got != "on\n" {
		t.Errorf("a client's commits wait by synchronous_commit = %s", got)
	}
	ca.must(t, "BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO public.t VALUES (1); COMMIT")
	streaming(t, ca, cb)
	a.crash()
	must(t, cb.Promote(t.Context()))
	if n := cb.value(t, "SELECT count(*)::text FROM public.t"); n != "1" {
		t.Errorf("the acknowledged commit is not there: %s", n)
	}
}

func TestSystemOverridesAreTakenBack(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, autoConf), []byte("# x\nwork_mem = '1MB'\nfsync = 'off'\nSynchronous_Commit = 'Remote_Write'\n"+
		"recovery_target_xid = '5'\nmax_connections = '20'\ninclude 'x'\n"), 0o600))
	got, err := SystemOverrides(dir, true)
	if want := []string{"fsync", "include", "recovery_target_xid", "synchronous_commit"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := SystemOverrides(dir, false); err != nil || slices.Contains(got, "synchronous_commit") {
		t.Errorf("%q, %v: with rep_mode=async synchronous_commit is the administrator's", got, err)
	}
	for value, stays := range map[string]bool{"remote_apply": true, "on": true, "true": true, "off": false, "local": false, "0": false} {
		must(t, os.WriteFile(filepath.Join(dir, autoConf), []byte("synchronous_commit = '"+value+"'\n"), 0o600))
		if got, err := SystemOverrides(dir, true); err != nil || (len(got) == 0) != stays {
			t.Errorf("%s: %q, %v", value, got, err)
		}
	}
	files := ConfFiles{Values: map[string]ConfValue{synchronousCommit: {Text: "Remote_Apply"}}}
	if CommitWait(files) != "remote_apply" || CommitWait(ConfFiles{}) != "on" {
		t.Error("remote_apply is the stronger and stays")
	}
}

func TestAlterSystemIsTakenBackWhereItIsRefused(t *testing.T) {
	s := newServer(t, "refuses", template)
	c := s.start()
	must(t, SetStandbySignal(s.data)) // no matter
	c.must(t, "ALTER SYSTEM SET synchronous_commit = 'off'")
	c.must(t, "ALTER SYSTEM SET maintenance_work_mem = '3MB'")
	s.leave(autoConf, "promote_trigger_file = '/x'\n")
	s.leave(autoConf, "include 'more.conf'\n") // no version has ALTER SYSTEM RESET include
	if s.major() >= 17 {
		s.leave("postgresql.conf", "allow_alter_system = off\n")
	}
	must(t, c.Reload(t.Context()))
	names, err := SystemOverrides(s.data, true)
	must(t, err)
	must(t, c.Reclaim(t.Context(), s.data, names))
	if left, err := SystemOverrides(s.data, true); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
	eventually(t, "the setting that is nobody's but the administrator's", func() error {
		fresh, err := Connect(t.Context(), s.local())
		if err != nil {
			return err
		}
		defer fresh.Close(t.Context())
		if got := fresh.value(t, "SELECT current_setting('maintenance_work_mem')"); got != "3MB" {
			return errors.New(got)
		}
		return nil
	})
}

func TestLoweredDurabilityIsNamed(t *testing.T) {
	s := newServer(t, "lowered", template)
	c := s.start()
	if got, err := c.LoweredDurability(t.Context()); err != nil || got != nil {
		t.Fatal(got, err)
	}
	for _, statement := range []string{
		`CREATE ROLE "an app"`, `CREATE ROLE stronger`,
		`ALTER ROLE "an app" SET synchronous_commit = 'off'`,
		`ALTER ROLE stronger SET synchronous_commit = remote_apply`,
		`ALTER ROLE stronger IN DATABASE template1 SET synchronous_commit = local`,
		`ALTER DATABASE postgres SET synchronous_commit = remote_write`,
		`ALTER ROLE ALL SET synchronous_commit = 'no'`,
		`ALTER ROLE "an app" SET work_mem = '1MB'`,
	} {
		c.must(t, statement)
	}
	got, err := c.LoweredDurability(t.Context())
	must(t, err)
	for _, undo := range []string{`ALTER ROLE "an app" RESET`, `ALTER ROLE "stronger" IN DATABASE "template1" RESET`, `ALTER DATABASE "postgres" RESET`, "ALTER ROLE ALL RESET"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, undo) }) {
			t.Errorf("%s is not said: %q", undo, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("%q", got)
	}
	for _, sentence := range got { // what they say to do helps
		_, statement, _ := strings.Cut(sentence, "loses those; ")
		c.must(t, strings.TrimSuffix(statement, " undoes it"))
	}
	if got, err := c.LoweredDurability(t.Context()); err != nil || got != nil {
		t.Error(got, err)
	}
	for n := range loweredShown + 2 {
		c.must(t, fmt.Sprintf("CREATE ROLE app%d", n))
		c.must(t, fmt.Sprintf("ALTER ROLE app%d SET synchronous_commit = off", n))
	}
	if got, err := c.LoweredDurability(t.Context()); err != nil || len(got) != loweredShown+1 || !strings.HasPrefix(got[loweredShown], "2 more roles or databases ") {
		t.Errorf("%q, %v", got, err)
	}
}
