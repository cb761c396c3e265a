package corpus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgtwin/internal/ha"
)

// What the resource's parameters say where a folder does not.
const (
	instanceName = "corpus"
	pgdata       = "/srv/data"
	passFile     = "/srv/pgpass"
)

// story is a folder that is played with one version of PostgreSQL.
type story struct {
	t      *testing.T
	folder folder
	major  int
	bin    string
	twins  bool // this version can clone
	dir    string

	base   *base
	hosts  map[string]*machine
	pm     *pacemaker
	ledger *ledger
	begun  []string // stages

	life    context.Context // ends with the story
	holding *sync.WaitGroup // what goes on beside it

	mu       sync.Mutex
	said     []string
	warnings []string
}

// play goes through the stages.
func play(t *testing.T, f folder, major int) {
	bin, err := binDir(major)
	must(t, err)
	s := &story{t: t, folder: f, major: major, bin: bin, twins: copies(bin), hosts: map[string]*machine{}}
	s.setUp()
	ctx := t.Context()
	s.before(ctx)
	if s.refused(ctx) {
		return
	}
	for _, stage := range stages[1:] {
		if s.folder.Expect == "waits" && len(s.begun) == 2 {
			break
		}
		if !s.leavesOut(stage) {
			began := time.Now()
			s.begun = append(s.begun, stage)
			s.play(ctx, stage)
			s.t.Logf("%s: %.1f s", stage, time.Since(began).Seconds())
		}
		s.after(ctx, stage)
	}
	s.judge()
}

func (s *story) play(ctx context.Context, stage string) {
	switch stage {
	case "start":
		must(s.t, s.pm.start(ctx, "h1"))
	case "promote":
		if s.folder.Expect == "waits" {
			s.waits("h1")
			return
		}
		s.awaitPrimary(ctx, "h1")
	case "rows":
		s.awaitRows(ctx)
	case "clone":
		s.join(ctx)
	case "crash":
		s.crash(ctx)
	case "return":
		s.awaitComplete(ctx, s.other())
	case "switchback":
		s.move(ctx)
	case "restart":
		s.restart(ctx)
	}
	if stage != "start" && stage != "promote" {
		s.countRows(ctx)
	}
}

// waits looks for what a host has to say that must not serve: neither as a primary, nor as a complete standby.
func (s *story) waits(node string) {
	s.t.Helper()
	s.awaitWarnings()
	if v, m := s.base.read(), s.base.node(node); s.pm.primary() == node || v.Epoch.Number > 0 && m.InSync == v.Epoch.Number {
		s.t.Errorf("%s serves: promoted is %q, complete in epoch %d of %d", node, s.pm.primary(), m.InSync, v.Epoch.Number)
	}
}

// leavesOut says whether a stage is left out: by the folder, or because this version's programs cannot copy
// a database. Servers that do not switch over are restarted instead.
func (s *story) leavesOut(stage string) bool {
	if stage == "switchback" && !s.folder.switchesBack() {
		return true
	}
	switch stage {
	case "clone", "return", "switchback":
		if s.folder.Standby == "waits" && stage != "clone" {
			return true
		}
		return !s.twins || slices.Contains(s.folder.Skip, stage) || stage != "clone" && slices.Contains(s.folder.Skip, "clone")
	case "restart":
		return s.twins && !slices.Contains(s.folder.Skip, "clone") || slices.Contains(s.folder.Skip, stage)
	case "end":
		return false
	}
	return slices.Contains(s.folder.Skip, stage)
}

func (s *story) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// setUp makes the hosts, which are off.
func (s *story) setUp() {
	t := s.t
	dir, err := os.MkdirTemp(shm, "pgtwin-corpus-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	s.dir = dir
	net, err := newNetwork()
	must(t, err)
	nodes := []string{"h1", "h2"}
	s.base = newBase(nodes, s.note)
	s.pm = &pacemaker{base: s.base, hosts: s.hosts, params: map[string]map[string]string{}, said: s.note, managed: map[string]bool{}}
	for index, node := range nodes {
		m := &machine{boot: boot{Node: node, Dir: filepath.Join(dir, node), Bin: s.bin}, index: index + 1, network: net, base: s.base, said: s.note}
		s.hosts[node] = m
		s.pm.params[node] = s.params()
		must(t, s.furnish(m))
	}
	s.ledger = &ledger{database: s.folder.Database, primary: s.primarySocket}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		for _, m := range s.hosts {
			m.powerOff()
		}
		working.Wait()
		must(t, net.close())
		s.report()
		must(t, os.RemoveAll(dir))
	})
	s.life, s.holding = ctx, &working
	working.Go(func() { s.pm.run(ctx) })
	working.Go(func() { s.watch(ctx) })
	working.Go(func() { s.ledger.run(ctx) })
}

func (s *story) params() map[string]string {
	params := map[string]string{"container_name": instanceName, "pgdata": pgdata, "pg_bindir": s.programs(), "node_list": "h1 h2", "pgpassfile": passFile}
	maps.Copy(params, s.folder.Resource)
	for name, value := range params {
		params[name] = s.expand(value)
		if value == "" {
			delete(params, name)
		}
	}
	return params
}

// standIns is where the programs of a version are that cannot copy a database: links to its own, and to
// false(1) for those that validate-all wants and this story does not use.
const standIns = "/srv/bin"

func (s *story) programs() string {
	if s.twins {
		return s.bin
	}
	return standIns
}

func (s *story) standIn(dir string) error {
	if s.twins {
		return nil
	}
	err := os.Mkdir(dir, 0o755)
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		err = errors.Join(err, os.Symlink(filepath.Join(s.bin, name), filepath.Join(dir, name)))
	}
	for _, name := range []string{"pg_basebackup", "pg_rewind", "pg_verifybackup", "pg_waldump", "pg_controldata"} {
		err = errors.Join(err, os.Symlink("/bin/false", filepath.Join(dir, name)))
	}
	return err
}

// expand lets a folder name what differs between versions.
func (s *story) expand(text string) string {
	return strings.NewReplacer("${MAJOR}", strconv.Itoa(s.major), "${BIN}", s.bin).Replace(text)
}

// furnish makes the file systems of a host: its own /etc, an empty /srv with the database on h1, the folder's files.
func (s *story) furnish(m *machine) error {
	account, err := postgres()
	if err != nil {
		return err
	}
	uid, gid := int(account.Uid), int(account.Gid)
	etc, srv := filepath.Join(m.boot.Dir, "etc"), filepath.Join(m.boot.Dir, "srv")
	for _, dir := range []string{etc, srv, filepath.Join(m.boot.Dir, "lib")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"passwd", "group", "nsswitch.conf", "ld.so.cache", "localtime"} {
		if err := exec.Command("cp", "-a", "/etc/"+name, etc).Run(); err != nil && name != "localtime" {
			return fmt.Errorf("cannot copy /etc/%s: %w", name, err)
		}
	}
	if err := s.standIn(filepath.Join(srv, "bin")); err != nil {
		return err
	}
	names := "127.0.0.1 localhost\n"
	for index, node := range []string{"h1", "h2"} {
		names += address(index+1) + " " + node + "\n"
	}
	err = errors.Join(os.WriteFile(filepath.Join(etc, "hosts"), []byte(names), 0o644),
		os.WriteFile(filepath.Join(srv, "pgpass"), []byte("*:*:replication:replicator:secret\n"), 0o600),
		os.Chown(filepath.Join(srv, "pgpass"), uid, gid))
	if err == nil && m.boot.Node == "h1" {
		err = s.database(filepath.Join(srv, "data"), uid, gid)
	}
	if err != nil {
		return err
	}
	for _, from := range []string{"both", m.boot.Node} {
		if err := s.folder.lay(filepath.Join(from, "etc"), etc, 0, 0); err != nil {
			return err
		}
		if err := s.folder.lay(filepath.Join(from, "srv"), srv, uid, gid); err != nil {
			return err
		}
	}
	return s.certificates(m)
}

func (s *story) database(data string, uid, gid int) error {
	template, err := servers.get(s.major, s.bin)
	if err != nil {
		return err
	}
	if err := run(exec.Command("cp", "-a", template, data)); err != nil {
		return err
	}
	if err := s.rearrange(data); err != nil {
		return err
	}
	return s.folder.lay("data", data, uid, gid)
}

// rearrange removes what initdb has made and others keep elsewhere; "." is all of it.
func (s *story) rearrange(data string) error {
	for _, name := range s.folder.Remove {
		if err := os.RemoveAll(filepath.Clean(filepath.Join(data, name))); err != nil {
			return err
		}
	}
	return nil
}

// before is what happened to the database before pgtwin.
func (s *story) before(ctx context.Context) {
	for _, m := range s.hosts {
		must(s.t, m.powerOn())
	}
	s.modes()
	if len(s.folder.SQL) > 0 || len(s.folder.Start) > 0 {
		var argv, sql []string
		for _, a := range s.folder.Start {
			argv = append(argv, s.expand(a))
		}
		for _, q := range s.folder.SQL {
			sql = append(sql, s.expand(q))
		}
		must(s.t, s.hosts["h1"].order(ctx, "Before", Plain{PGData: pgdata, Argv: argv, Database: s.folder.Startdb, SQL: sql, End: s.folder.End}, new(int)))
	}
	account, err := postgres()
	must(s.t, err)
	srv := filepath.Join(s.hosts["h1"].boot.Dir, "srv")
	must(s.t, s.folder.lay("after", filepath.Join(srv, "data"), int(account.Uid), int(account.Gid)))
	s.modes()
	for path, owner := range s.folder.Owners {
		if owner == "root" {
			must(s.t, os.Lchown(filepath.Join(s.hosts["h1"].boot.Dir, path), 0, 0))
		}
	}
}

// modes gives the files their modes. Files of after/ do not exist yet when it is called for the first time.
func (s *story) modes() {
	for path, mode := range s.folder.Modes {
		bits, err := strconv.ParseUint(mode, 8, 12)
		must(s.t, err)
		for _, m := range s.hosts {
			if err := os.Chmod(filepath.Join(m.boot.Dir, path), os.FileMode(bits)); !errors.Is(err, fs.ErrNotExist) {
				must(s.t, err)
			}
		}
	}
	for path, name := range s.folder.Groups {
		group, err := user.LookupGroup(name)
		must(s.t, err)
		gid, err := strconv.Atoi(group.Gid)
		must(s.t, err)
		for _, m := range s.hosts {
			must(s.t, os.Chown(filepath.Join(m.boot.Dir, path), 0, gid))
		}
	}
}

// refused plays a folder that pgtwin is not to take over: validate-all says so, and a start does no harm.
func (s *story) refused(ctx context.Context) bool {
	err := s.hosts["h1"].order(ctx, "Validate", s.pm.params["h1"], new(int))
	s.after(ctx, "validate")
	if s.folder.Expect == "works" || s.folder.Expect == "waits" || s.folder.Expect == "either" && err == nil {
		if err != nil {
			s.t.Fatalf("validate-all: %v", err)
		}
		return false
	}
	if err == nil {
		s.t.Errorf("validate-all is content, want a refusal with %q", s.folder.Words.Refusal)
		return true
	}
	for _, w := range s.folder.Words.Refusal {
		if !mentions(err.Error(), s.expand(w)) {
			s.t.Errorf("the refusal does not mention %q: %v", w, err)
		}
	}
	for _, w := range s.folder.Words.Never {
		if mentions(err.Error(), s.expand(w)) {
			s.t.Errorf("the refusal mentions %q: %v", w, err)
		}
	}
	return true
}

func (s *story) awaitPrimary(ctx context.Context, node string) {
	s.t.Helper()
	await(ctx, s.t, node+" to be the primary", func() string {
		st := s.hosts[node].state(instanceName)
		if s.pm.primary() == node && st.Role == ha.Primary {
			return ""
		}
		return fmt.Sprintf("%s is %s (%s %s), promoted is %q; %v", node, st.Role, s.hosts[node].progress(instanceName).Phase,
			s.hosts[node].progress(instanceName).Detail, s.pm.primary(), s.pm.refusedSoFar())
	})
}

// awaitRows waits until clients have commits acknowledged.
func (s *story) awaitRows(ctx context.Context) {
	s.t.Helper()
	before, _ := s.ledger.acknowledged()
	await(ctx, s.t, "rows that are acknowledged", func() string {
		now, err := s.ledger.acknowledged()
		if now >= before+5 {
			return ""
		}
		return fmt.Sprintf("%d more, %v", now-before, err)
	})
}

func (s *story) awaitComplete(ctx context.Context, node string) {
	s.t.Helper()
	await(ctx, s.t, node+" to be complete", func() string {
		v, m := s.base.read(), s.base.node(node)
		if v.Epoch.Number > 0 && m.InSync == v.Epoch.Number && m.Scored && m.Score >= cmp.Or(s.folder.Score, ha.EligibleScore) {
			return ""
		}
		st, p := s.hosts[node].state(instanceName), s.hosts[node].progress(instanceName)
		return fmt.Sprintf("complete in epoch %d of %d, score %d; %s, %s %s, %q", m.InSync, v.Epoch.Number, m.Score, st.Role, p.Phase, p.Detail, st.Warnings)
	})
}

// join lets h2 come up with an empty disk.
func (s *story) join(ctx context.Context) {
	s.t.Helper()
	must(s.t, s.pm.start(ctx, "h2"))
	if s.folder.Standby == "waits" {
		s.waits("h2")
		return
	}
	s.awaitComplete(ctx, "h2")
	s.awaitRows(ctx)
}

// crash kills the primary's postmaster: a standby takes over, or the server comes back where there is none.
func (s *story) crash(ctx context.Context) {
	s.t.Helper()
	victim, successor := s.pm.primary(), s.pm.primary()
	if s.pm.manages(s.otherThan(victim)) && s.folder.Standby == "" {
		successor = s.otherThan(victim)
	}
	epoch := s.base.read().Epoch.Number
	must(s.t, s.hosts[victim].order(ctx, "Signal", int(syscall.SIGKILL), new(int)))
	await(ctx, s.t, "a new epoch", func() string {
		if s.base.read().Epoch.Number > epoch {
			return ""
		}
		st := s.hosts[successor].state(instanceName)
		return fmt.Sprintf("%s is %s, %q, %v", successor, st.Role, st.Warnings, s.pm.refusedSoFar())
	})
	s.awaitPrimary(ctx, successor)
	s.awaitRows(ctx)
}

// move is a switchover to the other host.
func (s *story) move(ctx context.Context) {
	s.t.Helper()
	from := s.pm.primary()
	to := s.otherThan(from)
	s.pm.set(func() { s.pm.banned = from })
	s.awaitPrimary(ctx, to)
	s.pm.set(func() { s.pm.banned = "" })
	s.awaitComplete(ctx, from)
	s.awaitRows(ctx)
}

// restart stops the only host in good order and starts it.
func (s *story) restart(ctx context.Context) {
	s.t.Helper()
	node := s.pm.primary()
	epoch := s.base.read().Epoch.Number
	must(s.t, s.pm.restart(ctx, node))
	await(ctx, s.t, "a new epoch", func() string {
		if s.base.read().Epoch.Number > epoch {
			return ""
		}
		return fmt.Sprint(s.pm.refusedSoFar())
	})
	s.awaitPrimary(ctx, node)
	s.awaitRows(ctx)
}

func (s *story) other() string { return s.otherThan(s.pm.primary()) }

func (s *story) otherThan(node string) string {
	if node == "h1" {
		return "h2"
	}
	return "h1"
}

// primarySocket is where clients find the database, as by a virtual address.
func (s *story) primarySocket() (string, int) {
	if node := s.pm.primary(); node != "" {
		return s.socket(node)
	}
	return "", 0
}

func (s *story) socket(node string) (string, int) {
	port := 5432
	if p, err := strconv.Atoi(s.folder.Resource["pgport"]); err == nil {
		port = p
	}
	root := s.hosts[node].root()
	if root == "" {
		return "", 0
	}
	return root + "/run/postgresql", port
}

// connect opens a session on a host, or on the host of a role.
func (s *story) connect(ctx context.Context, on string) (*pgx.Conn, error) {
	switch on {
	case "", "primary":
		on = s.pm.primary()
	case "standby":
		on = s.other()
	}
	if s.hosts[on] == nil {
		return nil, fmt.Errorf("there is no host %q", on)
	}
	dir, port := s.socket(on)
	return connect(ctx, dir, port, s.folder.Database)
}

// countRows looks for every row that was acknowledged.
func (s *story) countRows(ctx context.Context) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := s.connect(ctx, "primary")
	if err != nil {
		s.t.Errorf("cannot count the rows: %v", err)
		return
	}
	defer conn.Close(context.Background())
	lost, err := s.ledger.lost(ctx, func(ctx context.Context) (map[int]bool, error) { return rowsOf(ctx, conn) })
	if err != nil {
		s.t.Errorf("cannot count the rows: %v", err)
	}
	if len(lost) > 0 {
		s.t.Errorf("after %s %d rows are lost that were acknowledged, the first is %d", s.begun[len(s.begun)-1], len(lost), lost[0])
	}
}
