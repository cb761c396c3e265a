package ledger

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// server is a PostgreSQL of its own for a test.
type server struct {
	t    *testing.T
	dir  string
	port int
}

func newServer(t *testing.T) *server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	dir, err := os.MkdirTemp("", "pgtwin-ledger-test-") // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t, dir, port}
	s.run("chown", "postgres", dir)
	s.postgres("initdb", "--no-sync", "--auth=trust", "-D", s.data())
	s.start()
	t.Cleanup(func() { s.postgres("pg_ctl", "-D", s.data(), "-m", "immediate", "stop") })
	s.sql("create role ledger login password 'secret'; " + Schema)
	return s
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) start() {
	options := fmt.Sprintf("-c port=%d -c listen_addresses=127.0.0.1,127.0.0.2 -c unix_socket_directories=%s", s.port, s.dir)
	s.postgres("pg_ctl", "-D", s.data(), "-w", "-l", filepath.Join(s.dir, "log"), "-o", options, "start")
}

func (s *server) sql(text string) {
	s.postgres("psql", "-h", s.dir, "-p", strconv.Itoa(s.port), "-v", "ON_ERROR_STOP=1", "-c", text, "postgres")
}

// postgres runs one of PostgreSQL's programs as its owner.
func (s *server) postgres(program string, args ...string) {
	s.t.Helper()
	s.run("setpriv", append([]string{"--reuid=postgres", "--regid=postgres", "--clear-groups", "/usr/lib/postgresql/15/bin/" + program}, args...)...)
}

func (s *server) run(program string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

func (s *server) login(name string, hosts ...string) Login {
	return Login{User: "ledger", Password: "secret", Name: name, Hosts: hosts, Port: s.port}
}

func awaitAcknowledged(t *testing.T, w *Writer, n int) {
	t.Helper()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); w.Acknowledged() < n; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d acknowledged, waited for %d", w.Acknowledged(), n)
		}
	}
}

func TestWriterGoesOnAfterACrash(t *testing.T) {
	s := newServer(t)
	// Nobody listens on the first address: the client finds the second.
	w, err := Start(t.Context(), s.login("crash", "127.0.0.3", "127.0.0.1"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	awaitAcknowledged(t, w, 20)
	crashed := time.Now()
	s.postgres("pg_ctl", "-D", s.data(), "-m", "immediate", "stop")
	s.start()
	awaitAcknowledged(t, w, w.Acknowledged()+20)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	if gap := w.Longest(crashed, time.Now()); gap.Length() < 2*pace {
		t.Errorf("the longest gap is %s, the crash was not seen", gap.Length())
	}
	rows, err := w.Rows(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	account := Settle(w.Notes(), rows)
	if err := account.Err(); err != nil || account.Acknowledged < 40 {
		t.Errorf("%+v: %v", account, err)
	}
}

func TestLostAndDoubledRowsAreFound(t *testing.T) {
	s := newServer(t)
	w, err := Start(t.Context(), s.login("loss", "127.0.0.1"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	awaitAcknowledged(t, w, 10)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	s.sql("delete from ledger where number = 3; insert into ledger select * from ledger where number = 5")
	rows, err := w.Rows(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	account := Settle(w.Notes(), rows)
	if account.Err() == nil || len(account.Lost) != 1 || account.Lost[0] != 3 || len(account.Doubled) != 1 || account.Doubled[0] != 5 {
		t.Errorf("%+v", account)
	}
}

// One server with two addresses is what two primaries look like from outside.
func TestWatchSeesTwoPrimaries(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct {
		name  string
		hosts []string
		two   bool
	}{
		{"one address", []string{"127.0.0.1"}, false},
		{"two addresses", []string{"127.0.0.1", "127.0.0.2"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			watch := StartWatch(t.Context(), s.login("watch", tt.hosts...))
			w, err := Start(t.Context(), s.login("clock", "127.0.0.1"), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			awaitAcknowledged(t, w, 30)
			if err := w.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := Overlaps(watch.Stop()); (err != nil) != tt.two {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWatchSeesNoPrimaryInAStandby(t *testing.T) {
	s := newServer(t)
	s.postgres("pg_ctl", "-D", s.data(), "-m", "fast", "stop")
	if err := os.WriteFile(filepath.Join(s.data(), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.start()
	watch := StartWatch(t.Context(), s.login("watch", "127.0.0.1"))
	s.sql("select pg_promote()")
	w, err := Start(t.Context(), s.login("clock", "127.0.0.1"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	awaitAcknowledged(t, w, 20)
	promoted := w.Notes()[0].At
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	reigns := watch.Stop()
	if len(reigns) != 1 || reigns[0].Last.Received.Before(promoted) {
		t.Errorf("the watch saw %+v, want one reign since the promotion", reigns)
	}
}
