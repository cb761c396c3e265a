package instance

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
	"pgtwin/internal/storage"
)

// real is a runtime that runs PostgreSQL's own programs as the tests' user.
type real struct {
	runtime.Runtime // what no test needs
	mu              sync.Mutex
	ran             []string
	before          func(program string)
}

func (r *real) Name() string                         { return "real" }
func (r *real) Remove(context.Context, string) error { return nil }

func (r *real) Run(_ context.Context, s runtime.Spec, output io.Writer) (int, error) {
	r.mu.Lock()
	r.ran = append(r.ran, s.Argv[0])
	r.mu.Unlock()
	if r.before != nil {
		r.before(s.Argv[0])
	}
	cmd := program(s.Argv)
	cmd.Env = append(cmd.Env, s.Env...)
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	if cmd.ProcessState != nil {
		return cmd.ProcessState.ExitCode(), nil
	}
	return 0, err
}

// ready prepares the data directory, within a minute and a half.
func ready(t *testing.T, a *Activation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := a.prepare(ctx); err != nil {
		t.Fatalf("%v; %s", err, a.failure)
	}
}

// arriveReal is arrive with PostgreSQL's own programs, and data that user postgres reaches.
func arriveReal(t *testing.T, port int) (*Activation, *real) {
	t.Helper()
	a, _ := arrive(t, epochOf(t, "h1"), port)
	dir, err := os.MkdirTemp("", "pgtwin-files-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	o, r := postgres(), &real{}
	must(t, os.Chown(dir, int(o.uid), int(o.gid)))
	a.Instance.PGData, a.Instance.SocketDir, a.runtime = filepath.Join(dir, "data"), dir, r
	if data, err := postmasterData(port); err == nil {
		conn, err := pg.Connect(t.Context(), pg.Target{Host: filepath.Dir(data), Port: port, User: "postgres", Database: "postgres", ApplicationName: "test"})
		must(t, err)
		must(t, conn.EnsureSlot(t.Context(), config.SlotFor(a.Instance, "h2")))
		must(t, conn.Close(t.Context()))
	}
	return a, r
}

// crashedPrimary gives the activation the data of a primary that was killed after it had written beyond
// the fork.
func crashedPrimary(t *testing.T, a *Activation) {
	t.Helper()
	a.withData(t)
	data := a.Instance.PGData
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	cmd := program([]string{"postgres", "-D", data, "-p", fmt.Sprint(port), "-c", "listen_addresses=", "-c", "unix_socket_directories=" + a.Instance.SocketDir,
		"-c", "fsync=off"})
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	query := func() error {
		out, err := program([]string{"psql", "-h", a.Instance.SocketDir, "-p", fmt.Sprint(port), "-U", "postgres", "-XAtc", "CREATE TABLE public.lost AS SELECT 1"}).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for late := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = query(); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
	server, err := postmaster.Find(data)
	must(t, err)
	must(t, server.Signal(unix.SIGKILL))
	<-ended
	for late := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if server, err = postmaster.Find(data); err == nil && server == nil || time.Now().After(late) {
			break
		}
	}
	must(t, err)
	must(t, removeFile(filepath.Join(data, "postmaster.pid"))) // as alone does
}

// A former primary has standby.signal, which the recovery of pg_rewind would refuse.
func TestACrashedPrimaryWithItsSignalFileIsRewound(t *testing.T) {
	port := startPrimary(t)
	a, r := arriveReal(t, port)
	crashedPrimary(t, a)
	must(t, pg.GuardPrimary(a.Instance.PGData))
	r.before = func(program string) {
		if program != "pg_rewind" {
			return
		}
		if _, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name)); !marked || err != nil {
			t.Errorf("standby.signal was taken out without the marker: %v", err)
		}
	}
	ready(t, a)
	if a.plan.Course != ha.Rewind || slices.Contains(r.ran, "pg_basebackup") {
		t.Errorf("%s (%s), ran %v", a.plan.Course, a.plan.Why, r.ran)
	}
	if standby, err := pg.MeantStandby(a.Instance.PGData); !standby || err != nil {
		t.Errorf("standby.signal is not back: %v", err)
	}
}

// administratorsFiles are links and files of root in a data directory, as Puppet and people leave them.
func administratorsFiles(t *testing.T, data string) (etc string) {
	t.Helper()
	etc = filepath.Join(filepath.Dir(data), "etc")
	must(t, os.MkdirAll(filepath.Join(etc, "conf.d"), 0o755))
	for _, name := range []string{"postgresql.conf", "pg_hba.conf"} {
		must(t, os.Rename(filepath.Join(data, name), filepath.Join(etc, name)))
		must(t, os.Symlink(filepath.Join(etc, name), filepath.Join(data, name)))
	}
	appendTo(t, filepath.Join(etc, "postgresql.conf"), "include_dir 'conf.d'\n")
	must(t, os.WriteFile(filepath.Join(etc, "conf.d", "a.conf"), []byte("work_mem = '5MB'\n"), 0o644))
	must(t, os.Symlink(filepath.Join(etc, "conf.d"), filepath.Join(data, "conf.d")))
	must(t, os.Symlink("/var/log", filepath.Join(data, "log")))
	must(t, os.WriteFile(filepath.Join(data, "notes.txt"), []byte("of root"), 0o600))
	must(t, os.Chown(filepath.Join(data, "pg_ident.conf"), 0, 0))
	must(t, os.Chmod(filepath.Join(data, "pg_ident.conf"), 0o644))
	return etc
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Close())
}

func leadsTo(t *testing.T, path, want string) {
	t.Helper()
	if to, err := os.Readlink(path); err != nil || to != want {
		t.Errorf("%s is not the link to %s: %q, %v", path, want, to, err)
	}
}

func TestARewindLeavesTheAdministratorsFiles(t *testing.T) {
	port := startPrimary(t)
	a, r := arriveReal(t, port)
	crashedPrimary(t, a)
	data := a.Instance.PGData
	etc := administratorsFiles(t, data)
	ready(t, a)
	if a.plan.Course != ha.Rewind || slices.Contains(r.ran, "pg_basebackup") {
		t.Errorf("%s (%s), ran %v", a.plan.Course, a.plan.Why, r.ran)
	}
	for name, to := range map[string]string{"postgresql.conf": etc + "/postgresql.conf", "pg_hba.conf": etc + "/pg_hba.conf", "conf.d": etc + "/conf.d", "log": "/var/log"} {
		leadsTo(t, filepath.Join(data, name), to)
	}
	if text, err := os.ReadFile(filepath.Join(data, "notes.txt")); string(text) != "of root" {
		t.Errorf("notes.txt is gone: %v", err)
	}
	if uid, _, err := pg.Owner(filepath.Join(data, "pg_ident.conf")); uid != 0 || err != nil {
		t.Errorf("pg_ident.conf belongs to %d: %v", uid, err)
	}
	must(t, a.checkConfiguration())
}

func TestAnInterruptedRewindsFilesAreFoundByTheClone(t *testing.T) {
	port := startPrimary(t)
	a, r := arriveReal(t, port)
	a.withData(t)
	data := a.Instance.PGData
	etc := administratorsFiles(t, data)
	must(t, storage.Mark(config.MarkerFile(a.Instance.Name), "rewind"))
	names, err := storage.SetForeignAside(data, a.owner.uid)
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}
	ready(t, a)
	if a.plan.Course != ha.Clone {
		t.Errorf("%s, ran %v", a.plan.Course, r.ran)
	}
	leadsTo(t, filepath.Join(data, "postgresql.conf"), etc+"/postgresql.conf")
	leadsTo(t, filepath.Join(data, "conf.d"), etc+"/conf.d")
	kept, err := storage.Kept(data)
	if err != nil || len(kept) != 1 || !exists(filepath.Join(kept[0], "notes.txt")) {
		t.Errorf("notes.txt is not with the kept data: %v, %v", kept, err)
	}
	must(t, a.checkConfiguration())
}

// pg_basebackup leaves symbolic links out.
func TestACloneOfASourceWithLinksHasItsConfiguration(t *testing.T) {
	port := startPrimary(t)
	source, err := postmasterData(port)
	must(t, err)
	etc := filepath.Join(filepath.Dir(source), "etc")
	must(t, os.Mkdir(etc, 0o755))
	for _, name := range []string{"postgresql.conf", "pg_hba.conf"} {
		must(t, os.Rename(filepath.Join(source, name), filepath.Join(etc, name)))
		must(t, os.Symlink(filepath.Join(etc, name), filepath.Join(source, name)))
	}
	appendTo(t, filepath.Join(etc, "postgresql.conf"), "max_connections = 300\n")
	appendTo(t, filepath.Join(etc, "pg_hba.conf"), "host all app all scram-sha-256\n")
	a, _ := arriveReal(t, port)
	ready(t, a)
	for name, part := range map[string]string{"postgresql.conf": "max_connections = 300\n", "pg_hba.conf": "host all app all"} {
		text, err := os.ReadFile(filepath.Join(a.Instance.PGData, name))
		if err != nil || !strings.Contains(string(text), part) {
			t.Errorf("%s of the clone lacks %q: %v", name, part, err)
		}
	}
	must(t, a.checkConfiguration())
}

func TestWhatTheSourceCannotReadIsNamedBeforeACopyBegins(t *testing.T) {
	port := startPrimary(t)
	source, err := postmasterData(port)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(source, "server.key"), []byte("x"), 0o600)) // of root
	must(t, os.Mkdir(filepath.Join(source, "certs"), 0o700))
	a, r := arriveReal(t, port)
	for _, work := range []func(context.Context, ha.Arrival, string) error{a.clone, a.rewind} {
		err := work(t.Context(), ha.Arrival{Epoch: epochOf(t, "h1")}, "a test")
		for _, part := range []string{"/server.key", "/certs", "on h1, chown --reference="} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
		if len(r.ran) > 0 {
			t.Errorf("ran %v", r.ran)
		}
		if _, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name)); marked || err != nil {
			t.Errorf("marked, %v", err)
		}
		a.withData(t) // for the rewind
	}
}

func TestDataWithoutTheirConfigurationAreRefused(t *testing.T) {
	link := func(to string) func(*testing.T, string) {
		return func(t *testing.T, data string) {
			must(t, os.Remove(filepath.Join(data, "postgresql.conf")))
			must(t, os.Symlink(to, filepath.Join(data, "postgresql.conf")))
		}
	}
	secret := filepath.Join(t.TempDir(), "secret.conf")
	must(t, os.WriteFile(secret, nil, 0o600))
	tests := []struct {
		name      string
		given     func(*testing.T, string)
		container bool
		says      string // "": started
	}{
		{"as initdb leaves them", func(*testing.T, string) {}, true, ""},
		{"none at all", func(t *testing.T, data string) { must(t, os.Remove(filepath.Join(data, "postgresql.conf"))) }, false, "has no postgresql.conf"},
		{"no rules", func(t *testing.T, data string) { must(t, os.Remove(filepath.Join(data, "pg_hba.conf"))) }, false, "has no pg_hba.conf"},
		{"no map of users", func(t *testing.T, data string) { must(t, os.Remove(filepath.Join(data, "pg_ident.conf"))) }, false, ""},
		{"a broken link", link("/nonexistent/a.conf"), false, "is a symbolic link to /nonexistent/a.conf, which this host does not have"},
		{"of root", func(t *testing.T, data string) {
			must(t, os.Chown(filepath.Join(data, "postgresql.conf"), 0, 0))
		}, false, "chgrp"},
		{"below a directory of root", link(secret), false, "namei -l"},
		{"a missing include", func(t *testing.T, data string) {
			appendTo(t, filepath.Join(data, "postgresql.conf"), "include 'x.conf'\n")
		}, false, "x.conf, which this host does not have"},
		{"a missing include that may be", func(t *testing.T, data string) {
			appendTo(t, filepath.Join(data, "postgresql.conf"), "include_if_exists = 'x.conf'\n")
		}, false, ""},
		{"a missing directory", func(t *testing.T, data string) {
			appendTo(t, filepath.Join(data, "postgresql.conf"), "include_dir = 'conf.d'\n")
		}, false, "conf.d, which this host does not have"},
		{"a link that a container does not see", link("/etc/hostname"), true, "name /etc in container_dirs"},
		{"the same on the host", link("/etc/hostname"), false, ""},
		{"rules elsewhere", func(t *testing.T, data string) {
			appendTo(t, filepath.Join(data, "postgresql.conf"), "hba_file = '/etc/hostname'\n")
		}, false, "ln -sf /etc/hostname"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, _ := arriveReal(t, 1)
			a.withData(t)
			a.Instance.ContainerMode = test.container
			test.given(t, a.Instance.PGData)
			err := a.checkFiles(ha.Arrival{})
			if test.says == "" {
				must(t, err)
				return
			}
			failure, is := err.(*Failure)
			if !is || failure.Code != ocf.ErrInstalled || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

func TestDebiansConfigurationIsFound(t *testing.T) {
	root, data := t.TempDir(), t.TempDir()
	for cluster, dir := range map[string]string{"main": data, "another": "/nonexistent"} {
		conf := filepath.Join(root, "15", cluster)
		must(t, os.MkdirAll(conf, 0o755))
		must(t, os.WriteFile(filepath.Join(conf, "postgresql.conf"), []byte("data_directory = '"+dir+"'		# use data in another directory\n"), 0o644))
	}
	if dir := debianDir(root, data, 15); dir != filepath.Join(root, "15", "main") {
		t.Errorf("found %q", dir)
	}
	if dir := debianDir(root, data, 14); dir != "" {
		t.Errorf("found %q of another version", dir)
	}
}

// postmasterData is the data directory of the server that listens on a port.
func postmasterData(port int) (string, error) {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "pgtwin-primary-*", "data", "postmaster.pid"))
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), fmt.Sprintf("\n%d\n", port)) {
			return filepath.Dir(path), nil
		}
	}
	return "", fmt.Errorf("no server on port %d: %w, %v", port, os.ErrNotExist, err)
}
