package pg

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func files(settings ...string) ConfFiles {
	f := ConfFiles{Values: map[string]ConfValue{}}
	for i := 0; i < len(settings); i += 2 {
		f.Values[settings[i]] = ConfValue{settings[i+1], "/data/postgresql.conf", i/2 + 1}
	}
	return f
}

func TestSettingsAreRaisedToWhatTheWALAndTheClusterNeed(t *testing.T) {
	required := Control{Required: HotStandby{MaxConnections: 300, MaxWorkerProcesses: 8, MaxWALSenders: 10, MaxLocksPerTransaction: 64}}
	broken := files("max_connections", "500")
	broken.Problems = []ConfProblem{{"/data/postgresql.conf", 3, "syntax error"}}
	lessBroken := files("max_connections", "100")
	lessBroken.Problems = broken.Problems
	for _, c := range []struct {
		name  string
		files ConfFiles
		needs Needs
		want  string // name=value, with a star where it is a lowering
	}{
		{"defaults below the primary's", files(), Needs{Peers: 1}, "max_connections=300*"},
		{"as much as required", files("max_connections", "300"), Needs{Peers: 1}, ""},
		{"more than required", files("max_connections", "0x200"), Needs{Peers: 1}, ""},
		{"fewer than the cluster needs, too", files("max_connections", "300", "max_wal_senders", "0", "max_replication_slots", "1", "max_worker_processes", "0"),
			Needs{Peers: 1, Slots: 4}, "max_replication_slots=7 max_wal_senders=10* max_worker_processes=8*"},
		{"prepared transactions of a server that crashed", files("max_connections", "300"), Needs{Peers: 1, Prepared: 5}, "max_prepared_transactions=5"},
		{"no replication", files("max_connections", "300", "wal_level", "Minimal"), Needs{Peers: 1}, "wal_level=replica"},
		{"logical slots", files("max_connections", "300", "wal_level", "replica"), Needs{Peers: 1, Logical: 1}, "wal_level=logical"},
		{"logical stays", files("max_connections", "300", "wal_level", "logical"), Needs{Peers: 1}, ""},
		{"files with an error: the last good ones may say less", broken, Needs{Peers: 1},
			"max_connections=300 max_locks_per_transaction=64 max_wal_senders=10 max_worker_processes=8"},
		{"files with an error say less, which is no wish", lessBroken, Needs{Peers: 1},
			"max_connections=300 max_locks_per_transaction=64 max_wal_senders=10 max_worker_processes=8"},
		{"fewer than the WAL wants, and the cluster needs more than that", files("max_connections", "300", "max_wal_senders", "0"), Needs{Peers: 4},
			"max_wal_senders=14"},
	} {
		var got []string
		for _, r := range Raise(c.files, required, c.needs) {
			star := ""
			if r.Lowering {
				star = "*"
			}
			got = append(got, r.Name+"="+r.Value+star)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	said := Raise(files("max_connections", "200"), required, Needs{Peers: 1})[0].String()
	if !strings.Contains(said, `max_connections: /data/postgresql.conf, line 1, says "200", 300 is in force`) {
		t.Error(said)
	}
	needed := RaiseNeeded(files("max_wal_senders", "0", "max_connections", "20"), Needs{Peers: 2})
	if len(needed) != 1 || needed[0].Name != "max_wal_senders" || needed[0].Value != "8" {
		t.Errorf("%+v", needed)
	}
}

func TestCountsAreReadAsPostgreSQLReadsThem(t *testing.T) {
	for text, want := range map[string]int{"200": 200, " 0x10 ": 16, "010": 8, "99.6": 100, "1e2": 100, "2.5": 2, "3.5": 4} {
		if got, ok := parseCount(text); !ok || got != want {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "many", "1_0", "0b1", "0o7", "NaN", "inf", "1e99", "10MB"} {
		if got, ok := parseCount(text); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// lower makes the settings that a hot standby compares smaller, as an administrator does.
const lower = "max_connections = 30\nmax_worker_processes = 3\nmax_wal_senders = 6\nmax_prepared_transactions = 1\nmax_locks_per_transaction = 20\n"

var lowerValues = HotStandby{MaxConnections: 30, MaxWorkerProcesses: 3, MaxWALSenders: 6, MaxPreparedTransactions: 1, MaxLocksPerTransaction: 20}

// A lowered value comes into use where this host starts with hot_standby=off and is promoted by a signal
// alone; the standby of before goes on with more, and takes the lower values at its next start.
func TestLoweredSettingsComeIntoUse(t *testing.T) {
	a := newServer(t, "a", template)
	a.leave("postgresql.conf", "max_connections = 60\nmax_prepared_transactions = 7\nmax_locks_per_transaction = 99\n")
	ca := a.start()
	must(t, ca.EnsureReplicationRole(t.Context(), replicator, secret))
	must(t, ca.EnsureSlot(t.Context(), "b"))
	a.stop()
	b := newServer(t, "b", a.data) // no pg_basebackup, which not every version at hand has
	must(t, os.RemoveAll(filepath.Join(b.data, "pg_replslot", "b")))
	ca = a.start()
	b.follow(a)
	b.settings.Slot = "b"
	cb := b.start()
	streaming(t, ca, cb)
	ca.must(t, "BEGIN; CREATE TABLE public.t (i int); PREPARE TRANSACTION 'kept'")
	a.stop()
	for _, s := range []*server{a, b} {
		s.leave("postgresql.conf", lower)
	}
	c, err := ReadControl(a.data)
	must(t, err)
	needs, err := FindNeeds(a.data, 1, c)
	must(t, err)
	if needs.Prepared != 1 || needs.Slots != 1 || needs.Logical != 0 {
		t.Errorf("%+v", needs)
	}
	if got := Lowerings(Raise(ReadConfFiles(a.data), c, needs)); len(got) != 5 {
		t.Errorf("%+v", got)
	}
	must(t, SetStandbySignal(a.data))
	a.raised, a.hotStandbyOff = RaiseNeeded(ReadConfFiles(a.data), needs), true
	a.promoteBySignal()
	a.settings.Slot = ""
	ca = a.connect()
	eventually(t, "the promotion", func() error {
		if ca.lookNow(t).InRecovery {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	ca.must(t, "COMMIT PREPARED 'kept'")
	if c, err := ReadControl(a.data); err != nil || c.Required != lowerValues {
		t.Errorf("pg_control requires %+v, %v", c.Required, err)
	}
	streaming(t, ca, cb)
	b.stop()
	cControl, err := ReadControl(b.data)
	must(t, err)
	if got := Raise(ReadConfFiles(b.data), cControl, Needs{Peers: 1}); len(got) > 0 {
		t.Errorf("the standby starts with more than the files say: %+v", got)
	}
	cb = b.start()
	streaming(t, ca, cb)
	if got := cb.value(t, "SELECT current_setting('max_connections')"); got != "30" {
		t.Errorf("max_connections is %s on the standby", got)
	}
}

// promoteBySignal starts the server and promotes it as pg_ctl does, without a session.
func (s *server) promoteBySignal() {
	s.t.Helper()
	s.launch()
	eventually(s.t, "a standby without sessions", func() error {
		if accepts, err := Accepts(s.data); err != nil || !accepts {
			return fmt.Errorf("%v %v", accepts, err)
		}
		return nil
	})
	must(s.t, os.WriteFile(filepath.Join(s.data, "promote"), nil, 0o600))
	must(s.t, s.process.Signal(unix.SIGUSR1))
}

// With more required than the files say an ordinary start takes what is required.
func TestAStandbyStartsWithWhatThePrimaryHad(t *testing.T) {
	s := newServer(t, "raised", template)
	s.leave("postgresql.conf", "max_connections = 90\nmax_worker_processes = 20\n")
	c := s.start()
	c.must(t, "CREATE TABLE public.t (i int)")
	s.crash()
	s.leave("postgresql.conf", "max_connections = 20\n")
	s.leave(autoConf, "max_worker_processes = 2\n")
	must(t, SetStandbySignal(s.data))
	control, err := ReadControl(s.data)
	must(t, err)
	s.raised = Raise(ReadConfFiles(s.data), control, Needs{Peers: 1})
	c = s.start()
	must(t, c.Promote(t.Context()))
	if got := c.value(t, "SELECT current_setting('max_connections') || ' ' || current_setting('max_worker_processes')"); got != "90 20" {
		t.Error(got)
	}
}

// A database that ran without replication, and crashed, becomes one that standbys can follow.
func TestADatabaseWithMinimalWALIsTakenOver(t *testing.T) {
	s := newServer(t, "minimal", template)
	s.leave("postgresql.conf", "wal_level = minimal\nmax_wal_senders = 0\nmax_replication_slots = 0\n")
	c := s.start()
	c.must(t, "CREATE TABLE public.t AS SELECT 1 AS i")
	s.crash()
	must(t, os.Remove(filepath.Join(s.data, "postmaster.pid")))
	control, err := ReadControl(s.data)
	must(t, err)
	if control.WALLevel != WALMinimal {
		t.Fatalf("wal_level %d", control.WALLevel)
	}
	needs, err := FindNeeds(s.data, 1, control)
	must(t, err)
	s.raised = RaiseNeeded(ReadConfFiles(s.data), needs)
	run(t, RaiseLevel(s.data, s.conf+"/postgresql.conf", s.raised))
	if control, err = ReadControl(s.data); err != nil || control.WALLevel != WALReplica || !control.CleanlyStopped() {
		t.Fatalf("%+v, %v", control, err)
	}
	must(t, SetStandbySignal(s.data))
	c = s.start()
	must(t, c.Promote(t.Context()))
	s.leave("postgresql.conf", "wal_level = replica\nmax_wal_senders = 10\n") // for the copy, whose start is not the subject
	_, cb := standbyOf(s, c, "b")
	streaming(t, c, cb)
	if n := cb.value(t, "SELECT count(*)::text FROM public.t"); n != "1" {
		t.Errorf("%s rows", n)
	}
}

// PostgreSQL does not start with fewer slots than there are, nor at a lower level than logical ones need.
func TestSlotsThatExistAreMadeRoomFor(t *testing.T) {
	s := newServer(t, "slots", template)
	s.leave("postgresql.conf", "wal_level = logical\n")
	c := s.start()
	c.must(t, "SELECT pg_create_logical_replication_slot('l', 'test_decoding')")
	c.must(t, "SELECT pg_create_physical_replication_slot('p')")
	s.stop()
	s.leave("postgresql.conf", "wal_level = replica\nmax_replication_slots = 1\n")
	control, err := ReadControl(s.data)
	must(t, err)
	needs, err := FindNeeds(s.data, 1, control)
	if err != nil || needs.Slots != 2 || needs.Logical != 1 {
		t.Fatalf("%+v, %v", needs, err)
	}
	s.raised = RaiseNeeded(ReadConfFiles(s.data), needs)
	c = s.start()
	if got := c.value(t, "SELECT current_setting('wal_level') || ' ' || current_setting('max_replication_slots')"); got != "logical 5" {
		t.Error(got)
	}
}

func TestRecoverySignalGoes(t *testing.T) {
	dir := t.TempDir()
	if removed, err := RemoveRecoverySignal(dir); removed || err != nil {
		t.Error(removed, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "recovery.signal"), nil, 0o600))
	if removed, err := RemoveRecoverySignal(dir); !removed || err != nil {
		t.Error(removed, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "recovery.signal")); err == nil {
		t.Error("it is still there")
	}
}
