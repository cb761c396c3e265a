package pg

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/postmaster"
)

// bindir can be set to the programs of another PostgreSQL.
var bindir = cmp.Or(os.Getenv("PGTWIN_TEST_BINDIR"), "/usr/lib/postgresql/15/bin")

const (
	replicator = "replicator"
	secret     = Password(`pass:w\ord'`)
)

// template is a fresh database that the tests' servers are copies of: initdb is slow.
var template string

func TestMain(m *testing.M) {
	os.Exit(withTemplate(m))
}

func withTemplate(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pgtwin-pg-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	uid, gid := postgresUser()
	if err := os.Chown(dir, uid, gid); err != nil {
		panic(err)
	}
	template = filepath.Join(dir, "data")
	argv := append(InitDB(template, "postgres"), "--no-sync", "--wal-segsize=1") // small to copy
	if out, err := program(context.Background(), argv).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	return m.Run()
}

func postgresUser() (uid, gid int) {
	account, err := user.Lookup("postgres")
	if err != nil {
		panic(err)
	}
	uid, _ = strconv.Atoi(account.Uid)
	gid, _ = strconv.Atoi(account.Gid)
	return uid, gid
}

// program is a PostgreSQL program that runs as user postgres with nothing in its environment.
func program(ctx context.Context, argv []string) *exec.Cmd {
	uid, gid := postgresUser()
	path := argv[0]
	if !filepath.IsAbs(path) {
		path = filepath.Join(bindir, path)
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

func run(t *testing.T, argv []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	out, err := program(ctx, argv).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// server is a PostgreSQL with pgtwin's configuration in a directory of its own.
type server struct {
	t        *testing.T
	dir      string
	data     string
	conf     string
	passfile string
	bin      string // directory of its programs, "" for bindir
	settings Settings
	process  *os.Process
	ended    chan struct{} // closed once the server has ended

	raised        []Raised
	hotStandbyOff bool
}

// newServer makes the directory of a server; copyOf is its database, "" for none.
func newServer(t *testing.T, name, copyOf string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-"+name+"-")
	must(t, err)
	s := &server{t: t, dir: dir, data: filepath.Join(dir, "data"), conf: filepath.Join(dir, "conf"), passfile: filepath.Join(dir, "passfile")}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, s.log())
		}
		os.RemoveAll(dir)
	})
	uid, gid := postgresUser()
	must(t, os.Chown(dir, uid, gid))
	if copyOf != "" {
		must(t, exec.Command("cp", "-a", copyOf, s.data).Run())
	}
	must(t, WritePassFile(s.passfile, Credential{User: replicator, Password: secret}, uint32(uid), uint32(gid)))
	s.settings = Settings{Name: name, Major: s.major(), PGData: s.data, Port: freePort(t), ListenAddresses: "127.0.0.1",
		SocketDir: dir, User: "postgres", ReplicationUser: replicator}
	return s
}

func (s *server) major() int {
	data := s.data
	if _, err := os.Stat(data); err != nil {
		data = template // of which it is to be a copy
	}
	major, err := MajorVersion(data)
	must(s.t, err)
	return major
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) configure() {
	s.t.Helper()
	uid, gid := postgresUser()
	_, err := WriteConf(s.conf, s.settings, uint32(uid), uint32(gid))
	must(s.t, err)
}

// start starts the server and waits until it answers.
func (s *server) start() *Conn {
	s.t.Helper()
	s.launch()
	return s.connect()
}

func (s *server) launch() {
	s.t.Helper()
	s.configure()
	server := Server{PGData: s.data, ConfigFile: s.conf + "/postgresql.conf", Major: s.settings.Major, Raised: s.raised, HotStandbyOff: s.hotStandbyOff}
	argv := append(server.Argv(), "-c", "log_destination=stderr", "-c", "fsync=off")
	argv[0] = filepath.Join(cmp.Or(s.bin, bindir), argv[0])
	cmd := program(context.Background(), argv)
	// A file and not a pipe, whose end would come with the last child's.
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(s.t, cmd.Start())
	ended := make(chan struct{})
	s.ended, s.process = ended, cmd.Process
	go func() { cmd.Wait(); close(ended) }()
}

// log is what the server has written to its log.
func (s *server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// local is the server as root sees it through its socket.
func (s *server) local() Target {
	return Target{Host: s.dir, Port: s.settings.Port, Major: s.settings.Major, User: "postgres", Database: "postgres", ApplicationName: "test"}
}

// remote is the server as the replication role sees it over TCP.
func (s *server) remote() Target {
	return Target{Host: "127.0.0.1", Port: s.settings.Port, Major: s.settings.Major, User: replicator, PassFile: s.passfile, ApplicationName: "test"}
}

func (s *server) connect() *Conn {
	s.t.Helper()
	var c *Conn
	eventually(s.t, "an answer of "+s.dir, func() (err error) {
		c, err = Connect(s.t.Context(), s.local())
		return err
	})
	s.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// eventually repeats a question until it succeeds, or fails the test. Its patience is for PostgreSQL 15
// and older: a request for a WAL receiver that meets the end of the last one can be left until something
// wakes the postmaster (it handles signals before select(2), not in it), which here nothing does. The
// startup process asks anew only after WALRCV_STARTUP_TIMEOUT, 10 s, noticed at its next 5 s turn.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err := ask(); err != nil; err = ask() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long for %s: %v", what, err)
		}
	}
}

func (s *server) stop() {
	if s.ended == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := postmaster.Shutdown(ctx, s.data, slog.New(slog.DiscardHandler), postmaster.Ladder{Fast: 5 * time.Second, Immediate: time.Second}); err != nil {
		s.t.Error(err)
		s.process.Kill()
	}
	<-s.ended
}

func (s *server) crash() {
	s.t.Helper()
	p, err := postmaster.Find(s.data)
	must(s.t, err)
	must(s.t, p.Signal(unix.SIGKILL))
	<-s.ended
	s.stop() // its children go by themselves, in their time
}

// standbyOf clones a running server with pg_basebackup and starts the copy.
func standbyOf(primary *server, c *Conn, name string) (*server, *Conn) {
	t := primary.t
	t.Helper()
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	must(t, c.EnsureSlot(t.Context(), name))
	s := newServer(t, name, "")
	from := primary.remote()
	from.ApplicationName = name
	from.PassFile = s.passfile
	run(t, append(BaseBackup(from, Backup{Dir: s.data, Slot: name}), "--no-sync"))
	s.follow(primary)
	s.settings.Slot = name
	return s, s.start()
}

func (s *server) follow(primary *server) {
	s.t.Helper()
	upstream := primary.remote()
	upstream.ApplicationName, upstream.PassFile = s.settings.Name, s.passfile
	s.settings.Upstream = &upstream
	must(s.t, SetStandbySignal(s.data))
}

func (c *Conn) must(t *testing.T, sql string) {
	t.Helper()
	_, err := c.session.Exec(t.Context(), sql)
	must(t, err)
}

// value asks for one text.
func (c *Conn) value(t *testing.T, sql string, args ...any) (v string) {
	t.Helper()
	must(t, c.session.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

func (c *Conn) lookNow(t *testing.T) Look {
	t.Helper()
	look, err := c.Look(t.Context())
	must(t, err)
	return look
}

// streaming waits until a standby receives, and has replayed, what the primary has written.
func streaming(t *testing.T, primary, standby *Conn) {
	t.Helper()
	eventually(t, "streaming", func() error {
		p, s := primary.lookNow(t), standby.lookNow(t)
		if !s.Receiver.Streaming() || s.Replayed < p.Written {
			return fmt.Errorf("primary at %s, standby %+v", p.Written, s)
		}
		return nil
	})
}
