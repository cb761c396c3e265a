package postmaster

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgtwin/internal/pg"
)

// bindir can be set to the programs of another PostgreSQL.
var bindir = cmp.Or(os.Getenv("PGTWIN_TEST_BINDIR"), "/usr/lib/postgresql/15/bin")

// template is a fresh database that the tests' servers are copies of: initdb is slow.
var template string

func TestMain(m *testing.M) { os.Exit(withTemplate(m)) }

func withTemplate(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pgtwin-postmaster-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	uid, gid := account()
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		panic(err)
	}
	template = filepath.Join(dir, "data")
	argv := append(pg.InitDB(template, "postgres"), "--no-sync", "--wal-segsize=1") // small to copy
	if out, err := program(argv).CombinedOutput(); err != nil {
		panic(err.Error() + ": " + string(out))
	}
	return m.Run()
}

// account is the user that PostgreSQL runs as: it refuses to be root.
func account() (uid, gid uint32) {
	postgres, err := user.Lookup("postgres")
	if err != nil {
		panic(err)
	}
	u, errUID := strconv.ParseUint(postgres.Uid, 10, 32)
	g, errGID := strconv.ParseUint(postgres.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		panic(err)
	}
	return uint32(u), uint32(g)
}

func program(argv []string) *exec.Cmd {
	uid, gid := account()
	cmd := exec.Command(filepath.Join(bindir, argv[0]), argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return cmd
}

// server is a PostgreSQL that nobody connects to, on a database of its own.
type server struct {
	t     *testing.T
	data  string
	log   string
	ended chan struct{} // closed once the postmaster has ended and been waited for
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-postmaster-")
	must(t, err)
	s := &server{t: t, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log")}
	t.Cleanup(func() {
		s.end()
		if text, err := os.ReadFile(s.log); err == nil && t.Failed() {
			t.Logf("%s", text)
		}
		must(t, os.RemoveAll(dir))
	})
	uid, gid := account()
	must(t, os.Chown(dir, int(uid), int(gid)))
	must(t, exec.Command("cp", "-a", template, s.data).Run())
	return s
}

// start starts the server and waits until it has all its children.
func (s *server) start() *Process {
	s.t.Helper()
	cmd := program([]string{"postgres", "-D", s.data, "-c", "listen_addresses=", "-c", "unix_socket_directories=" + filepath.Dir(s.data), "-c", "fsync=off"})
	log, err := os.Create(s.log)
	must(s.t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(s.t, cmd.Start())
	s.ended = make(chan struct{})
	go func() { cmd.Wait(); close(s.ended) }()
	s.await(func() bool { ready, _ := pg.Accepts(s.data); return ready })
	p, err := Open(cmd.Process.Pid)
	must(s.t, err)
	return p
}

func (s *server) await(holds func() bool) {
	s.t.Helper()
	late := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.ended:
			s.t.Fatal("the server has ended")
		case <-late:
			s.t.Fatal("waited too long")
		}
	}
}

// end leaves nothing running, whatever the test has done to the server.
func (s *server) end() {
	if s.ended == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := Shutdown(ctx, s.data, slog.New(slog.DiscardHandler), Ladder{Fast: time.Second}); err != nil {
		s.t.Error(err)
		return
	}
	<-s.ended
}

// state is what the control file says of how the server ended.
func (s *server) state() pg.State {
	s.t.Helper()
	c, err := pg.ReadControl(s.data)
	must(s.t, err)
	return c.State
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
