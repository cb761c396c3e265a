package instance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
)

// hosted is a runtime that starts PostgreSQL itself.
type hosted struct {
	programs
	starts int
	ended  sync.WaitGroup
}

func (h *hosted) Start(_ context.Context, s runtime.Spec) (runtime.Started, error) {
	h.starts++
	cmd := program(append(s.Argv, "-c", "fsync=off", "-c", "log_destination=stderr"))
	if err := cmd.Start(); err != nil {
		return runtime.Started{}, err
	}
	h.ended.Go(func() { _ = cmd.Wait() })
	return runtime.Started{PID: cmd.Process.Pid, MainPID: cmd.Process.Pid}, nil
}

// startable is an activation whose data and socket lie where the server's user reaches them.
func startable(t *testing.T) (*Activation, *hosted) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-start-")
	must(t, err)
	o := postgres()
	must(t, os.Chown(dir, int(o.uid), int(o.gid)))
	a, _ := arrive(t, ha.Epoch{}, freePort(t))
	h := &hosted{}
	a.runtime, a.Instance.PGData, a.Instance.SocketDir, a.Instance.StopTimeout = h, filepath.Join(dir, "data"), dir, 20*time.Second
	a.withData(t)
	t.Cleanup(func() {
		must(t, postmaster.Shutdown(context.Background(), a.Instance.PGData, slog.New(slog.DiscardHandler), postmaster.Ladder{Immediate: 5 * time.Second}))
		h.ended.Wait()
		must(t, os.RemoveAll(dir))
	})
	return a, h
}

// accepted lets PostgreSQL start with the files as they are, keeps copies, and stops it.
func (a *Activation) accepted(t *testing.T, h *hosted) {
	t.Helper()
	must(t, a.start(t.Context(), ha.Arrival{}))
	conn, err := pg.Connect(t.Context(), Local(a.Instance))
	must(t, err)
	settings, err := Settings(a.Instance, a.credential, "", nil)
	must(t, err)
	settings.ConfDir = config.ConfDir(a.Instance.Name)
	prints := pg.Prints(a.Instance.PGData)
	state, err := conn.ReadFiles(t.Context(), settings)
	must(t, err)
	must(t, pg.Accept(settings.ConfDir, settings, state, prints, a.owner.uid, a.owner.gid))
	must(t, conn.Close(t.Context()))
	must(t, a.abandon(t.Context()))
	h.starts = 0
}

func (a *Activation) write(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(a.Instance.PGData, name), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

func TestAStartWithABrokenFileUsesTheLastGoodCopy(t *testing.T) {
	tests := []struct {
		name, file, text string
		kind             pg.Kind
		starts           int
		says             string
	}{
		{"a syntax error", "postgresql.conf", "work_mem == 64MB\n", pg.Conf, 1, "postgresql.conf, line "},
		{"a file that is not there", "postgresql.conf", "include 'nowhere.conf'\n", pg.Conf, 1, "nowhere.conf"},
		{"a name that PostgreSQL does not know", "postgresql.conf", "max_conections = 200\n", pg.Conf, 2, "did not start with it"},
		{"a value that PostgreSQL cannot use", "postgresql.conf", "max_connections = many\n", pg.Conf, 2, "did not start with it"},
		{"a library that is not there", "postgresql.conf", "shared_preload_libraries = 'no_such_library'\n", pg.Conf, 2, "did not start with it"},
		{"a rule that PostgreSQL cannot read", "pg_hba.conf", "host all all 10.0.0.0/8 scarm-sha-256\n", pg.HBA, 2, "did not start with it"},
		{"a map that PostgreSQL cannot read, with which it would let nobody in", "pg_ident.conf", "pgtwin root\n", pg.Ident, 1, "has not read it yet"},
		{"a setting of ALTER SYSTEM", "postgresql.auto.conf", "max_conections = 200\n", "", 2, ""},
		{"an address at which no client comes", "postgresql.conf", "listen_addresses = '127.0.0.1'\n", pg.Conf, 1, "clients come to 192.0.2.100 (vip)"},
		{"one of ALTER SYSTEM", "postgresql.auto.conf", "listen_addresses = '127.0.0.1'\n", "", 1, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, h := startable(t)
			a.write(t, "postgresql.conf", "work_mem = 11MB\n")
			a.Instance.VIP = "192.0.2.100"
			a.accepted(t, h)
			a.write(t, test.file, test.text)
			must(t, a.start(t.Context(), ha.Arrival{}))
			if h.starts != test.starts {
				t.Errorf("%d starts, want %d", h.starts, test.starts)
			}
			standIns, err := ReadStandIns(a.Instance.Name)
			must(t, err)
			if test.kind != "" && !strings.Contains(standIns[test.kind].Why, test.says) {
				t.Errorf("stand-ins %v", standIns)
			}
			if out := a.ask(t, "SHOW work_mem"); out != "11MB" {
				t.Errorf("work_mem is %s: the administrator's settings are not in use", out)
			}
			if out := a.ask(t, "SHOW listen_addresses"); out != "*" {
				t.Errorf("PostgreSQL listens on %s", out)
			}
		})
	}
}

// The address of the clients is the only reason for the copy, and there is none any more.
func TestAListenAddressThatIsRightAgainIsUsed(t *testing.T) {
	a, h := startable(t)
	a.Instance.VIP = "192.0.2.100"
	a.accepted(t, h)
	a.write(t, "postgresql.conf", "listen_addresses = '127.0.0.1'\nwork_mem = 22MB\n")
	must(t, a.start(t.Context(), ha.Arrival{}))
	if out := a.ask(t, "SHOW work_mem"); out == "22MB" {
		t.Errorf("work_mem is %s", out)
	}
	must(t, a.abandon(t.Context()))
	a.Instance.VIP = ""
	must(t, a.start(t.Context(), ha.Arrival{}))
	if out := a.ask(t, "SHOW work_mem") + " " + a.ask(t, "SHOW listen_addresses"); out != "22MB 127.0.0.1" {
		t.Errorf("work_mem and listen_addresses are %s", out)
	}
}

// The copy is from before the primary took more connections, and a standby must not have fewer.
func TestACopyThatStandsInHasWhatTheWALRequires(t *testing.T) {
	a, h := startable(t)
	a.accepted(t, h)
	must(t, os.WriteFile(pg.AcceptedFile(config.ConfDir(a.Instance.Name), pg.Conf), []byte("max_connections = 20\n"), 0o644))
	a.write(t, "postgresql.conf", "max_connections = 200\nshared_preload_libraries = 'no_such_library'\n")
	must(t, a.start(t.Context(), ha.Arrival{Self: "h1", Epoch: ha.Epoch{Number: 3, Node: "h1"}}))
	if out := a.ask(t, "SHOW max_connections"); out != "100" || a.progress.Lowering || a.progress.HotStandbyOff {
		t.Errorf("max_connections is %s: %+v", out, a.progress)
	}
	raised, err := Raised(a.Instance, 2)
	if err != nil || len(raised) > 0 {
		t.Errorf("raised %v: of a copy that stands in the file's own sentence tells: %v", raised, err)
	}
}

// ask lets psql, as the server's own user, ask for one value.
func (a *Activation) ask(t *testing.T, sql string) string {
	t.Helper()
	out, err := program([]string{"psql", "-XAt", "-h", a.Instance.SocketDir, "-p", portOf(a), "-U", "postgres", "-c", sql, "postgres"}).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	must(t, err)
	return strings.TrimSpace(string(out))
}

func TestAStartWithoutACopyNamesFileAndLine(t *testing.T) {
	a, h := startable(t)
	a.write(t, "postgresql.conf", "work_mem == 64MB\n")
	err := a.start(t.Context(), ha.Arrival{})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(a.Instance.PGData, "postgresql.conf")+", line ") || h.starts != 1 {
		t.Errorf("%d starts, error %v", h.starts, err)
	}
}

func TestAFailureThatTheFilesAreNotTheReasonOfLeavesThemInUse(t *testing.T) {
	a, h := startable(t)
	a.accepted(t, h)
	a.write(t, "postgresql.conf", "work_mem = 12MB\n")
	a.Instance.SocketDir = "/nowhere" // where PostgreSQL cannot make its socket, and ends
	if err := a.start(t.Context(), ha.Arrival{}); !errors.Is(err, errEnded) || h.starts != 2 {
		t.Fatalf("%d starts, error %v", h.starts, err)
	}
	standIns, err := ReadStandIns(a.Instance.Name)
	if must(t, err); len(standIns) > 0 {
		t.Errorf("copies stand in: %v", standIns)
	}
}

func TestACorrectedFileIsUsedAtTheNextStart(t *testing.T) {
	a, h := startable(t)
	a.accepted(t, h)
	must(t, WriteStandIns(a.Instance.Name, StandIns{pg.Conf: {Why: "a typing error", Print: "of a file that was changed since"}}))
	a.write(t, "postgresql.conf", "work_mem = 12MB\n")
	must(t, a.start(t.Context(), ha.Arrival{}))
	if got := a.ask(t, "SHOW work_mem"); got != "12MB" {
		t.Errorf("work_mem is %s", got)
	}
	standIns, err := ReadStandIns(a.Instance.Name)
	if must(t, err); slices.Contains(standIns.Kinds(), pg.Conf) {
		t.Errorf("still stands in: %v", standIns)
	}
}

func portOf(a *Activation) string { return strconv.Itoa(a.Instance.Port) }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
