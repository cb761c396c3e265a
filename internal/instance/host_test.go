package instance

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
)

var bindir = cmp.Or(os.Getenv("PGTWIN_TEST_BINDIR"), "/usr/lib/postgresql/15/bin")

// template is a fresh database that the tests' databases are copies of: initdb is slow.
var template string

func TestMain(m *testing.M) { os.Exit(withTemplate(m)) }

func withTemplate(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pgtwin-instance-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	o := postgres()
	if err := os.Chown(dir, int(o.uid), int(o.gid)); err != nil {
		panic(err)
	}
	template = filepath.Join(dir, "data")
	argv := append(pg.InitDB(template, "postgres"), "--no-sync", "--wal-segsize=1") // small to copy
	if out, err := program(argv).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	return m.Run()
}

// postgres is as whom the servers run: they refuse to be root.
func postgres() owner {
	account, err := user.Lookup("postgres")
	if err != nil {
		panic(err)
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if errUID != nil || errGID != nil {
		panic(account)
	}
	return owner{uint32(uid), uint32(gid)}
}

func program(argv []string) *exec.Cmd {
	o := postgres()
	cmd := exec.Command(filepath.Join(bindir, argv[0]), argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.gid}}
	return cmd
}

// newName is an instance that this host does not have, and whose files go with the test.
func newName(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("instancetest-%d", os.Getpid())
	must(t, os.MkdirAll(config.RunDir(name), 0o755))
	must(t, os.MkdirAll(config.StateDir(name), 0o755))
	t.Cleanup(func() {
		must(t, os.RemoveAll(config.RunDir(name)))
		must(t, os.RemoveAll(config.StateDir(name)))
	})
	return name
}

// pacemaker is a cluster that says what the test wants it to.
type pacemaker struct{ view cluster.View }

func (p pacemaker) Read(context.Context) (cluster.View, error) { return p.view, nil }

// programs is a runtime in which PostgreSQL's programs leave what the real ones
// would: copies of the template.
type programs struct {
	runtime.Runtime // what no test needs
	mu              sync.Mutex
	ran             []string
	fail            string // the program that fails
}

func (r *programs) Name() string                         { return "fake" }
func (r *programs) Remove(context.Context, string) error { return nil }

func (r *programs) Run(_ context.Context, s runtime.Spec, output io.Writer) (exit int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ran = append(r.ran, s.Argv[0])
	if s.Argv[0] == r.fail {
		fmt.Fprintln(output, s.Argv[0]+": error: of the test")
		return 1, nil
	}
	for _, argument := range s.Argv[1:] {
		for _, option := range []string{"--pgdata=", "--target-pgdata="} {
			if dir, found := strings.CutPrefix(argument, option); found {
				fmt.Fprint(output, " 4096/ 8192 kB (50%) copied\r")
				return 0, exec.Command("cp", "-aT", template, dir).Run()
			}
		}
	}
	return 0, nil
}

// patchControl changes eight bytes of a control file, as another server would
// have left it (ControlFileData of pg_control.h).
func patchControl(t *testing.T, dir string, at int, value uint64) {
	t.Helper()
	const atCRC = 288
	path := filepath.Join(dir, "global", "pg_control")
	content, err := os.ReadFile(path)
	must(t, err)
	binary.NativeEndian.PutUint64(content[at:], value)
	binary.NativeEndian.PutUint32(content[atCRC:], crc32.Checksum(content[:atCRC], crc32.MakeTable(crc32.Castagnoli)))
	must(t, os.WriteFile(path, content, 0o600))
}

var replicator = pg.Credential{User: "replicator", Password: "secret"}

// startPrimary runs a primary on timeline 2, promoted from the template.
func startPrimary(t *testing.T) (port int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-primary-")
	must(t, err)
	o, data, conf := postgres(), filepath.Join(dir, "data"), filepath.Join(dir, "conf")
	must(t, os.Chown(dir, int(o.uid), int(o.gid)))
	must(t, exec.Command("cp", "-a", template, data).Run())
	must(t, pg.SetStandbySignal(data))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port = l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	settings := pg.Settings{Name: "primary", Major: 15, PGData: data, Port: port, ListenAddresses: "127.0.0.1", SocketDir: dir,
		User: "postgres", ReplicationUser: replicator.User}
	_, err = pg.WriteConf(conf, settings, o.uid, o.gid)
	must(t, err)
	cmd := program([]string{"postgres", "-D", data, "-c", "config_file=" + conf + "/postgresql.conf", "-c", "fsync=off"})
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		must(t, postmaster.Shutdown(context.Background(), data, slog.New(slog.DiscardHandler), postmaster.Ladder{Immediate: 5 * time.Second}))
		<-ended
		must(t, os.RemoveAll(dir))
	})
	promote(t, pg.Target{Host: dir, Port: port, User: "postgres", Database: "postgres", ApplicationName: "test"}, ended)
	return port
}

func promote(t *testing.T, target pg.Target, ended <-chan struct{}) {
	t.Helper()
	conn, err := pg.Connect(t.Context(), target)
	for late := time.After(20 * time.Second); err != nil; conn, err = pg.Connect(t.Context(), target) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			t.Fatalf("the primary has ended: %v", err)
		case <-late:
			t.Fatal(err)
		}
	}
	defer conn.Close(t.Context())
	must(t, conn.Promote(t.Context()))
	must(t, conn.Checkpoint(t.Context()))
	must(t, conn.EnsureReplicationRole(t.Context(), replicator.User, replicator.Password))
}

func systemOf(t *testing.T, dir string) uint64 {
	t.Helper()
	c, err := pg.ReadControl(dir)
	must(t, err)
	return c.System
}

// epochOf is what is recorded of the promotion that startPrimary makes.
func epochOf(t *testing.T, node string) ha.Epoch {
	return ha.Epoch{Number: 1, System: systemOf(t, template), Timeline: 2, Highest: 2, Switch: 0, Node: node}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
