package pg

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestLookAtPrimaryAndStandby(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	ca.must(t, "CREATE TABLE public.t (i int)")
	streaming(t, ca, cb)

	control, err := ReadControl(a.data)
	must(t, err)
	p := ca.lookNow(t)
	if p.InRecovery || p.System != control.System || p.Version/10000 != a.major() || p.DataDirectory != a.data || p.Timeline != 1 ||
		p.Started.IsZero() || p.ConfLoaded.IsZero() || p.Written < p.Flushed || p.Flushed == 0 || p.Position() != p.Written || p.Receiver != nil || p.Synchronous != "" {
		t.Errorf("primary %+v", p)
	}
	if len(p.Walsenders) != 1 || len(p.Slots) != 1 {
		t.Fatalf("primary %+v", p)
	}
	w := p.Walsenders[0]
	if w.ApplicationName != "b" || w.State != "streaming" || w.SyncState != "async" || w.Replayed == 0 || w.Address != "127.0.0.1" || w.Slot != "b" || w.PID == 0 {
		t.Errorf("walsender %+v", w)
	}
	if s := p.Slots[0]; s.Name != "b" || !s.Physical || !s.Active || s.Lost || s.HoldsRows || s.Restart == 0 {
		t.Errorf("slot %+v", s)
	}

	s := cb.lookNow(t)
	if !s.InRecovery || s.System != control.System || s.Timeline != 1 || s.Received == 0 || s.Replayed == 0 || s.Redo == 0 || s.Redo > s.Replayed || s.Archive || s.Written != 0 ||
		s.Position() != max(s.Received, s.Replayed) || s.ReplayPaused || s.ReplayAge == nil || len(s.Walsenders) != 0 {
		t.Errorf("standby %+v", s)
	}
	if r := s.Receiver; r.SenderHost != "127.0.0.1" || r.SenderPort != a.settings.Port || r.Slot != "b" || r.Timeline != 1 || r.LatestEnd == 0 || r.PID == 0 {
		t.Errorf("receiver %+v", r)
	}
	compareControl(t, b.data) // a standby has a minimum recovery point

	a.stop()
	eventually(t, "the end of streaming", func() error {
		if s := cb.lookNow(t); s.Receiver.Streaming() || s.Timeline != 1 {
			return os.ErrExist
		}
		return nil
	})
}

func TestSessionsCannotHangTheCluster(t *testing.T) {
	t.Parallel()
	s := newServer(t, "session", template)
	s.settings.Synchronous = []string{"nobody"}
	c := s.start()
	for name, want := range map[string]string{"synchronous_commit": "local", "statement_timeout": "5s", "lock_timeout": "2s",
		"idle_in_transaction_session_timeout": "10s", "search_path": "pg_catalog", "application_name": "test"} {
		if got := c.value(t, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	c.must(t, "CREATE TABLE public.t (i int)") // would wait for a standby that does not exist
	must(t, c.Checkpoint(t.Context()))
}

func TestTheEnvironmentDoesNotDecideWhereToConnect(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME", "PGOPTIONS", "PGTZ",
		"PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS", "PGREQUIREAUTH", "PGCONNECT_TIMEOUT", "PGMINPROTOCOLVERSION"} {
		t.Setenv(name, "leak")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	must(t, os.WriteFile(home+"/.pgpass", []byte("*:*:*:*:leak\n"), 0o600))
	config, err := configure(Target{Host: "h1", Port: 5433, User: "u'x", Database: `d\b`, ApplicationName: "a"})
	must(t, err)
	if config.Host != "h1" || config.Port != 5433 || config.User != "u'x" || config.Database != `d\b` || config.Password != "" || len(config.Fallbacks) != 1 {
		t.Errorf("%+v", config.Config)
	}
	for name, value := range config.RuntimeParams {
		if value == "leak" {
			t.Errorf("%s leaks", name)
		}
	}
	t.Setenv("PGSERVICE", "leak")
	if _, err := configure(Target{Host: "h1"}); err == nil || !strings.Contains(err.Error(), "PGSERVICE") {
		t.Error(err)
	}
}

func TestOurSettingsWinOverTheAdministrators(t *testing.T) {
	t.Parallel()
	s := newServer(t, "conf", template)
	admin, err := os.OpenFile(s.data+"/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = admin.WriteString("\nsynchronous_standby_names = '*'\neffective_cache_size = '7MB'\n")
	must(t, err)
	must(t, admin.Close())
	must(t, os.WriteFile(s.data+"/postgresql.auto.conf", []byte("wal_keep_size = '1MB'\nmaintenance_work_mem = '9MB'\n"), 0o600))
	removed, err := RemoveRecoverySettings(s.data, ManagedNames())
	if err != nil || !slices.Equal(removed, []string{"wal_keep_size"}) {
		t.Fatal(removed, err)
	}
	s.settings.Synchronous = []string{"b", `c"d`}
	c := s.start()
	for name, want := range map[string]string{"synchronous_standby_names": `FIRST 2 ("b", "c""d")`, "effective_cache_size": "7MB",
		"wal_keep_size": "256MB", "maintenance_work_mem": "9MB", "restart_after_crash": "off"} {
		if got := c.value(t, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if faults := c.value(t, `SELECT count(*)::text FROM (SELECT error FROM pg_file_settings UNION ALL SELECT error FROM pg_hba_file_rules) AS e WHERE error IS NOT NULL`); faults != "0" {
		t.Errorf("%s faults in the configuration files", faults)
	}

	before := c.lookNow(t)
	s.settings.Synchronous = nil
	s.settings.Name = "renamed" // cluster_name changes with a restart only
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "the reload", func() error {
		if l := c.lookNow(t); l.Synchronous != "" || !l.ConfLoaded.After(before.ConfLoaded) || !slices.Equal(l.PendingRestart, []string{"cluster_name"}) {
			return os.ErrInvalid
		}
		return nil
	})
	if before.Synchronous != SynchronousNames([]string{"b", `c"d`}) {
		t.Errorf("before the reload %q", before.Synchronous)
	}
}
