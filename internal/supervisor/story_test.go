package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

var bindir = cmp.Or(os.Getenv("PGTWIN_TEST_BINDIR"), "/usr/lib/postgresql/15/bin")

// template is a fresh database that the tests' servers are copies of: initdb is slow.
var template string

func TestMain(m *testing.M) { os.Exit(withTemplate(m)) }

func withTemplate(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pgtwin-supervisor-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	uid, gid, err := lookUp("postgres")
	if err == nil {
		err = os.Chown(dir, int(uid), int(gid))
	}
	if err != nil {
		panic(err)
	}
	template = filepath.Join(dir, "data")
	cmd := exec.Command(filepath.Join(bindir, "initdb"), append(pg.InitDB(template, "postgres")[1:], "--no-sync", "--wal-segsize=1")...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	return m.Run()
}

// memory is a cluster that remembers what it is told.
type memory struct {
	view    cluster.View
	onWrite func(cluster.Record)
	refuse  error
	late    int // how often a peer does not know of the epoch yet
	asked   int
}

func (m *memory) Read(context.Context) (cluster.View, error) {
	view := m.view
	view.Nodes = append([]ha.Membership(nil), m.view.Nodes...)
	return view, nil
}

func (m *memory) Write(_ context.Context, _ cluster.View, r cluster.Record) error {
	if m.refuse != nil {
		return m.refuse
	}
	m.onWrite(r)
	if r.Epoch != nil {
		m.view.Epoch = *r.Epoch
	}
	m.view.Rank = max(m.view.Rank, r.Rank)
	for i, node := range m.view.Nodes {
		if epoch, written := r.InSync[node.Node]; written {
			m.view.Nodes[i].InSync = epoch
		}
	}
	return nil
}

// Knows answers for a peer whose copy is late.
func (m *memory) Knows(_ context.Context, _ string, epoch ha.Epoch) (bool, error) {
	m.asked++
	return m.asked > m.late && m.view.Epoch == epoch, nil
}

func (m *memory) SetScore(_ context.Context, node string, score int) error {
	for i := range m.view.Nodes {
		if m.view.Nodes[i].Node == node {
			m.view.Nodes[i].Score, m.view.Nodes[i].Scored = score, true
		}
	}
	return nil
}

func (m *memory) SetAttribute(context.Context, string, string) error { return nil }
func (m *memory) Fail(context.Context, string) error                 { return errors.New("nothing has failed") }

// startStandby runs PostgreSQL as an activation leaves it: a standby that
// follows nobody, on timeline 1.
func startStandby(t *testing.T, options ...string) (*Supervisor, *memory) {
	t.Helper()
	return startConfigured(t, func(string) {}, options...)
}

// startConfigured is startStandby with a configuration that was changed, in the directory that is given.
func startConfigured(t *testing.T, change func(dir string), options ...string) (*Supervisor, *memory) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtwin-supervisor-")
	must(t, err)
	uid, gid := account(t)
	must(t, os.Chown(dir, int(uid), int(gid)))
	i := config.Instance{Name: fmt.Sprintf("supervisortest-%d", os.Getpid()), Resource: "postgres-db", Node: "h1", PGData: filepath.Join(dir, "data"),
		Port: freePort(t), User: "postgres", SocketDir: dir, SlotName: "ha_slot", RepMode: "sync", SyncTimeout: time.Minute}
	must(t, os.MkdirAll(config.RunDir(i.Name), 0o755))
	t.Cleanup(func() {
		must(t, postmaster.Shutdown(context.Background(), i.PGData, slog.New(slog.DiscardHandler), postmaster.Ladder{Immediate: 5 * time.Second}))
		must(t, errors.Join(os.RemoveAll(dir), os.RemoveAll(config.RunDir(i.Name)), os.RemoveAll(config.StateDir(i.Name))))
	})
	must(t, exec.Command("cp", "-a", template, i.PGData).Run())
	must(t, pg.SetStandbySignal(i.PGData))
	credential := pg.Credential{User: "replicator", Password: "secret"}
	settings, err := instance.Settings(i, credential, "", nil)
	must(t, err)
	_, err = pg.WriteConf(config.ConfDir(i.Name), settings, uid, gid)
	must(t, err)
	change(config.ConfDir(i.Name))
	must(t, os.WriteFile(config.FounderFile(i.Name), nil, 0o600))
	must(t, control.WriteJSON(config.ProgressFile(i.Name), control.Progress{Phase: control.PhaseRunning}, 0o644))
	must(t, os.WriteFile(config.Intent(i.Name), []byte(control.IntentRun), 0o644))

	cmd := program(t, append([]string{"postgres", "-D", i.PGData, "-c", "config_file=" + config.PostgresConf(i.Name), "-c", "fsync=off"}, options...))
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	for accepts := false; !accepts; accepts, _ = pg.Accepts(i.PGData) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			t.Fatal("PostgreSQL has ended")
		case <-t.Context().Done():
			t.Fatal("PostgreSQL does not start")
		}
	}
	m := &memory{view: cluster.View{Quorate: true, Fencing: true,
		Nodes: []ha.Membership{{Node: "h1", ID: 1, Online: true}, {Node: "h2", ID: 2, Online: true}}}}
	s := &Supervisor{Instance: i, Cluster: m, Log: slog.New(slog.DiscardHandler)}
	s.credential, s.deaths, s.changed = credential, make(chan postmaster.Process, 1), time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	s.life, s.enforcements, s.surveys = ctx, make(chan enforcement), make(chan survey)
	t.Cleanup(func() { cancel(); s.disconnect(); s.background.Wait() })
	s.observe(ctx)
	return s, m
}

func TestTheEpochIsRecordedBeforeThePromotionTakesEffect(t *testing.T) {
	s, m := startStandby(t)
	var records []cluster.Record
	m.onWrite = func(r cluster.Record) {
		records = append(records, r)
		if standby, err := pg.HasStandbySignal(s.Instance.PGData); !standby || err != nil {
			t.Errorf("promoted before it was recorded: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m.late = 3
	must(t, s.promote(ctx))
	if m.asked != 4 {
		t.Errorf("the peer was asked %d times", m.asked)
	}

	// The third of two hosts' timelines is the first host's next; the second was not to be taken by chance.
	epoch := m.view.Epoch
	if epoch.Number != 1 || epoch.Node != "h1" || epoch.Timeline != 3 || epoch.Highest != 3 || epoch.System != s.seen.look.System {
		t.Errorf("epoch %s", epoch)
	}
	if len(records) != 2 || records[0].InSync["h1"] != 1 || records[0].InSync["h2"] != 0 || len(records[0].InSync) != 2 {
		t.Fatalf("records %+v", records)
	}
	if known := records[1]; known.Epoch != nil || known.InSync != nil || known.Rank != ha.KnownRank(records[0].Rank) {
		t.Errorf("recorded when everybody knew: %+v", known)
	}
	if _, err := os.Stat(filepath.Join(s.Instance.PGData, "pg_wal", "00000002.history")); err != nil {
		t.Errorf("timeline 2 is not reserved: %v", err)
	}
	if s.seen.role != ha.Primary || s.seen.look.Timeline != 3 {
		t.Errorf("PostgreSQL is %s on timeline %d", s.seen.role, s.seen.look.Timeline)
	}
	must(t, s.promote(ctx)) // again: it is done
	s.tick(ctx)
	if h1 := m.view.Nodes[0]; h1.Score != ha.PrimaryScore || m.view.Epoch.Number != 1 {
		t.Errorf("score %d, epoch %s", h1.Score, m.view.Epoch)
	}
}

func TestThatCommitsWaitIsProvenAlsoWhenARequestBeganIt(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	request, answered := context.WithTimeout(t.Context(), 20*time.Second)
	defer answered()
	must(t, s.promote(request))
	must(t, s.configure(request, "", []string{"h2"}, 0))
	for before := s.settings; s.settings == before; {
		s.observe(request)
	}
	s.enforce()
	answered() // the proof is not the request's
	if s.proven(s.required()) != nil {
		t.Error("proven already")
	}
	select {
	case e := <-s.enforcements:
		if !e.proven || e.setting != s.settings {
			t.Errorf("%+v, want a proof of change %d", e, s.settings)
		}
	case <-time.After(20 * time.Second):
		t.Error("no proof")
	}
}

// PostgreSQL before 16 reads a copy of the administrator's rules.
func TestAReloadIsForTheAdministratorsRules(t *testing.T) {
	s, _ := startStandby(t)
	s.takeIn(t.Context())
	const rule = "host all application all scram-sha-256\n"
	original, err := os.OpenFile(filepath.Join(s.Instance.PGData, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = original.WriteString(rule)
	must(t, errors.Join(err, original.Close()))
	s.observe(t.Context())
	s.takeIn(t.Context())
	if has(t, config.HBAConf(s.Instance.Name), rule) {
		t.Error("a rule was taken in before anybody ordered it")
	}

	must(t, s.conn.Reload(t.Context()))
	for end := time.Now().Add(20 * time.Second); !has(t, config.HBAConf(s.Instance.Name), rule); {
		if time.Now().After(end) {
			t.Fatal("the rule is not taken in")
		}
		s.observe(t.Context())
		s.takeIn(t.Context())
	}
	info, err := os.Stat(config.HBAConf(s.Instance.Name))
	must(t, err)
	for end := time.Now().Add(20 * time.Second); s.seen.look.ConfLoaded.Before(info.ModTime()); s.observe(t.Context()) {
		if time.Now().After(end) {
			t.Fatal("PostgreSQL has not read it")
		}
	}
}

func has(t *testing.T, path, part string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return strings.Contains(string(text), part)
}

func TestWithoutTheRecordThereIsNoPromotion(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(r cluster.Record) { t.Errorf("recorded %+v", r) }
	tests := []struct {
		name   string
		change func()
		says   string
	}{
		{"the data of a standby", func() { must(t, os.Remove(config.FounderFile(s.Instance.Name))) }, "were a standby's"},
		{"no quorum", func() {
			must(t, os.WriteFile(config.FounderFile(s.Instance.Name), nil, 0o600))
			m.view.Quorate = false
		}, "no quorum"},
		{"an unclean peer", func() { m.view.Quorate, m.view.Nodes[1].Unclean = true, true }, "h2 may be running"},
		{"a record that fails", func() { m.view.Nodes[1].Unclean, m.refuse = false, errors.New("no CIB") }, "no CIB"},
		{"a record that the peer has not seen when it is lost", func() {
			m.refuse, m.late = nil, 1000
			m.onWrite = func(cluster.Record) { m.view.Nodes[1].Online, m.view.Nodes[1].Unclean = false, true }
		}, "h2 may be running, and may not know of epoch 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.change()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.promote(ctx); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
			if s.observe(ctx); s.seen.role != ha.Standby {
				t.Errorf("PostgreSQL is %s", s.seen.role)
			}
		})
	}
}

func program(t *testing.T, argv []string) *exec.Cmd {
	t.Helper()
	uid, gid := account(t)
	cmd := exec.Command(filepath.Join(bindir, argv[0]), argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return cmd
}

// account is as whom PostgreSQL runs: it refuses to be root.
func account(t *testing.T) (uid, gid uint32) {
	t.Helper()
	uid, gid, err := lookUp("postgres")
	must(t, err)
	return uid, gid
}

func lookUp(name string) (uid, gid uint32, err error) {
	account, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	u, errUID := strconv.ParseUint(account.Uid, 10, 32)
	g, errGID := strconv.ParseUint(account.Gid, 10, 32)
	return uint32(u), uint32(g), errors.Join(errUID, errGID)
}

func freePort(t *testing.T) int {
	t.Helper()
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
