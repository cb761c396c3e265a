package pg

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	everySetting = flag.Bool("pg.hostile", false, "try every hostile setting, and by itself, which takes long (make hostile)")
	hostileSeed  = flag.Uint64("pg.hostile.seed", 0, "which hostile settings are tried, 0: others each time")
)

// statements are all that this package asks of a server, and by which role of the server.
// TestEveryStatementIsTriedUnderHostileSettings compares the names with the code.
var statements = []struct {
	name    string
	primary bool
	standby bool
	run     func(context.Context, *hostile, *server) error
}{
	{"Connect", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		c, err := Connect(ctx, s.local())
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		if _, err := c.session.Exec(ctx, "SELECT 1/0"); !hasCode(err, "22012") || c.Closed() {
			return fmt.Errorf("the session ends by an error: %w", err)
		}
		return nil
	}},
	{"DatabaseOf", true, true, inDatabase(func(ctx context.Context, h *hostile, s *server) error {
		_, err := DatabaseOf(ctx, h.remote(s))
		return err
	})},
	{"ConnectServer", true, true, onSession(func(context.Context, *hostile, *Conn) error { return nil })},
	{"Conn.Look", true, true, onSession(func(ctx context.Context, h *hostile, c *Conn) error {
		look, err := c.Look(ctx)
		if err == nil && (look.InRecovery != (c.target.Host == h.b.dir) || look.System != h.system || look.Started.IsZero() || look.DataDirectory == "") {
			err = fmt.Errorf("%+v", look)
		}
		return err
	})},
	{"Conn.EnsureReplicationRole", true, false, onSession(func(ctx context.Context, h *hostile, c *Conn) error {
		h.passwords++
		return c.EnsureReplicationRole(ctx, "another", Password(fmt.Sprint("secret", h.passwords)))
	})},
	{"Conn.AdministratorsSynchronous", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.AdministratorsSynchronous(ctx)
		return err
	})},
	{"Conn.EnsureSlot", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.EnsureSlot(ctx, "hostile") })},
	{"Conn.ReplaceSlot", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.ReplaceSlot(ctx, "hostile") })},
	{"Conn.AdvanceSlot", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.AdvanceSlot(ctx, "hostile", 1) })},
	{"Conn.DropSlot", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.DropSlot(ctx, "hostile") })},
	{"Conn.Checkpoint", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.Checkpoint(ctx) })},
	{"Conn.Reload", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.Reload(ctx) })},
	{"Conn.Reclaim", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		c, err := ConnectServer(ctx, s.local())
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		return c.Reclaim(ctx, s.data, []string{"primary_slot_name"})
	}},
	{"Conn.Guard", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		c, err := ConnectServer(ctx, s.local())
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		return errors.Join(c.Guard(ctx, s.data, "cp 'a' b"), c.Reclaim(ctx, s.data, []string{restoreCommand}))
	}},
	{"Conn.InRecovery", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.InRecovery(ctx)
		return err
	})},
	{"Conn.OtherIdentity", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.OtherIdentity(ctx, "postgres")
		return err
	})},
	{"Conn.LoweredDurability", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.LoweredDurability(ctx)
		return err
	})},
	{"Conn.ReadFiles", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		c, err := ConnectServer(ctx, s.local())
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		_, err = c.ReadFiles(ctx, s.settings)
		return err
	}},
	{"Conn.RoleProblems", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.RoleProblems(ctx, Credential{User: replicator, Password: secret, Managed: true}, "pgpass", 1)
		return err
	})},
	{"Conn.HasPassword", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.HasPassword(ctx, Credential{User: replicator, Password: secret})
		return err
	})},
	{"Conn.HasTLS", true, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.HasTLS(ctx)
		return err
	})},
	{"Conn.AskReplay", false, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.AskReplay(ctx)
		return err
	})},
	{"Conn.ResumeReplay", false, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.ResumeReplay(ctx) })},
	{"Conn.EndConflicts", false, true, onSession(func(ctx context.Context, _ *hostile, c *Conn) error {
		_, err := c.EndConflicts(ctx)
		return err
	})},
	{"Authenticate", true, true, func(ctx context.Context, h *hostile, s *server) error {
		return Authenticate(ctx, h.remote(s), Credential{User: replicator, Password: secret})
	}},
	{"Collations", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		_, err := Collations(ctx, s.local())
		return err
	}},
	{"CollationObjects", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		_, _, err := CollationObjects(ctx, s.local(), Collation{Database: "postgres"})
		return err
	}},
	{"AskFiles", true, true, inDatabase(func(ctx context.Context, h *hostile, s *server) error {
		major, err := MajorVersion(s.data)
		if err != nil {
			return err
		}
		_, err = AskFiles(ctx, h.remote(s), major)
		return err
	})},
	// A primary is promoted already; the standby is promoted at the end.
	{"Conn.Promote", true, false, onSession(func(ctx context.Context, _ *hostile, c *Conn) error { return c.Promote(ctx) })},
	{"AskPrimary", true, false, func(ctx context.Context, h *hostile, s *server) error {
		u, err := AskPrimary(ctx, h.remote(s))
		if err == nil && (u.System != h.system || !h.refused && (!u.Checkpointed || u.Oldest == 0 || u.Slots == nil)) {
			_, _, why := askDatabase(ctx, h.remote(s))
			err = fmt.Errorf("%+v: %w", u, why)
		}
		return err
	}},
	{"AskPosition", false, true, inDatabase(func(ctx context.Context, h *hostile, s *server) error {
		_, err := AskPosition(ctx, h.remote(s), h.system)
		return err
	})},
	{"AskExtent", true, true, inDatabase(func(ctx context.Context, h *hostile, s *server) error {
		e, err := AskExtent(ctx, h.remote(s))
		if err == nil && e.Main < 1<<20 {
			err = fmt.Errorf("%+v", e)
		}
		return err
	})},
	{"AskRole", true, true, func(ctx context.Context, h *hostile, s *server) error {
		for _, t := range []Target{s.local(), h.remote(s)} {
			i, err := AskRole(ctx, t)
			if err == nil && (i.Standby != (s == h.b) || i.System != h.system || i.Timeline != 1 || i.Position == 0) {
				err = fmt.Errorf("%+v", i)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"AskSynchronous", true, true, func(ctx context.Context, _ *hostile, s *server) error {
		_, err := AskSynchronous(ctx, s.local())
		return err
	}},
	{"IdentifySystem", true, true, func(ctx context.Context, h *hostile, s *server) error {
		_, _, _, err := IdentifySystem(ctx, h.remote(s))
		return err
	}},
	{"ReplicationHistory", true, true, func(ctx context.Context, h *hostile, s *server) error {
		_, err := ReplicationHistory(ctx, h.remote(s), 9)
		if hasCode(err, "58P01") { // the history that is not there is looked for
			return nil
		}
		return fmt.Errorf("of a timeline that is not there: %w", err)
	}},
	{"RelationNames", true, true, func(ctx context.Context, h *hostile, s *server) error {
		names, err := RelationNames(ctx, s.local(), []Relation{h.relation})
		if err == nil && !slices.Contains([]string{"postgres.public.t"}, names[h.relation]) {
			err = fmt.Errorf("%v", names)
		}
		return err
	}},
	{"AwaitRelease", true, true, inDatabase(func(ctx context.Context, h *hostile, s *server) error {
		return AwaitRelease(ctx, h.remote(s), "nobody")
	})},
}

// onSession runs a statement of the kept session.
func onSession(run func(context.Context, *hostile, *Conn) error) func(context.Context, *hostile, *server) error {
	return func(ctx context.Context, h *hostile, s *server) error {
		c, err := ConnectServer(ctx, s.local())
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		return run(ctx, h, c)
	}
}

// inDatabase is for what only a session in a database answers, which the replication role cannot have
// under a setting that only a superuser may override.
func inDatabase(run func(context.Context, *hostile, *server) error) func(context.Context, *hostile, *server) error {
	return func(ctx context.Context, h *hostile, s *server) error {
		if err := run(ctx, h, s); err != nil && !h.refused {
			return err
		}
		return nil
	}
}

// hostile is a primary and its standby whose roles and databases get hostile settings.
type hostile struct {
	t         *testing.T
	a, b      *server
	ca, cb    *Conn // from before
	system    uint64
	relation  Relation
	passwords int
	draw      *rand.Rand
	refused   bool // a setting that the replication role may not override ends its sessions
}

func (h *hostile) remote(s *server) Target {
	t := s.remote()
	t.Database = "postgres"
	return t
}

// bindirs are the programs of each PostgreSQL at hand.
func bindirs(t *testing.T) []string {
	if os.Getenv("PGTWIN_TEST_BINDIR") != "" {
		return []string{bindir}
	}
	others, err := filepath.Glob("/var/cache/pgtwin-lab/postgresql/*/bin")
	must(t, err)
	return append(others, bindir)
}

// newHostile makes a standby by a copy of the stopped primary: not each PostgreSQL at hand has pg_basebackup.
func newHostile(t *testing.T, bin string) *hostile {
	h := &hostile{t: t, a: newServer(t, "a", "")}
	h.a.bin = bin
	argv := append(InitDB(h.a.data, "postgres"), "--no-sync", "--wal-segsize=1")
	run(t, append([]string{filepath.Join(bin, argv[0])}, argv[1:]...))
	h.a.settings.Major = h.a.major()
	must(t, os.WriteFile(h.a.data+"/postgresql.auto.conf", []byte("shared_preload_libraries = '"+strings.Join(contribLibraries(bin), ",")+"'\n"), 0o600))
	c := h.a.start()
	for _, sql := range []string{"CREATE ROLE limited", "CREATE TABLE public.t (i int)", "CREATE SCHEMA hostile"} {
		c.must(t, sql)
	}
	c.must(t, "CREATE FUNCTION hostile.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT NULL::bool'")
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	must(t, c.EnsureSlot(t.Context(), "b"))
	h.relation = relationNamed(t, c, "public.t")
	h.a.stop()
	h.b = newServer(t, "b", h.a.data)
	h.b.bin, h.b.settings.Major, h.b.settings.Slot = bin, h.a.settings.Major, "b"
	h.b.follow(h.a)
	h.ca, h.cb = h.a.start(), h.b.start()
	h.system = h.ca.lookNow(t).System
	streaming(t, h.ca, h.cb)
	return h
}

func relationNamed(t *testing.T, c *Conn, name string) Relation {
	t.Helper()
	number := func(sql string, args ...any) uint32 {
		n, err := strconv.ParseUint(c.value(t, sql, args...), 10, 32)
		must(t, err)
		return uint32(n)
	}
	return Relation{1663, number("SELECT oid::text FROM pg_database WHERE datname = 'postgres'"), number("SELECT pg_relation_filenode($1::regclass)::text", name)}
}

// contribLibraries are those with settings of their own that the installation has.
func contribLibraries(bin string) (found []string) {
	for _, name := range []string{"auto_explain", "pg_stat_statements", "plpgsql", "pg_trgm", "isn", "postgres_fdw", "pg_prewarm"} {
		for _, dir := range []string{"../lib", "../lib/postgresql"} {
			if _, err := os.Stat(filepath.Join(bin, dir, name+".so")); err == nil {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// menace is a setting and the values that are tried.
type menace struct {
	name   string
	values []string
}

// menaces are all settings that a role or database may have. pg_settings hides two of them.
func (h *hostile) menaces() []menace {
	h.t.Helper()
	found := []menace{
		{"role", []string{"limited", "nonsense", replicator, "none"}},
		{"session_authorization", []string{"limited", "nonsense", replicator}},
	}
	rows, err := h.ca.session.Query(h.t.Context(), `SELECT name, CASE vartype
			WHEN 'bool' THEN ARRAY['on', 'off'] WHEN 'enum' THEN enumvals
			WHEN 'string' THEN ARRAY['', 'nonsense', boot_val] ELSE ARRAY[min_val, max_val, '1'] END
		FROM pg_settings WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') ORDER BY name`)
	must(h.t, err)
	var m menace
	var values []*string
	_, err = pgx.ForEachRow(rows, []any{&m.name, &values}, func() error {
		m.values = nil
		for _, v := range values {
			if v != nil {
				m.values = append(m.values, *v)
			}
		}
		m.values = append(m.values, particular[m.name]...)
		found = append(found, m)
		return nil
	})
	must(h.t, err)
	return found
}

// oddTimeZone has an offset with seconds, which breaks a reader of time stamps. The offset begins on the third of January,
// because PostgreSQL refuses a zone that has one at the beginning of the year 2000 (pg_tz_acceptable of localtime.c).
const oddTimeZone = "XXX5YYY4:30:15,J3,J365"

// particular are values that nonsense does not stand for.
var particular = map[string][]string{
	"search_path":               {"hostile, pg_catalog", "hostile"},
	"TimeZone":                  {oddTimeZone, "Asia/Kathmandu"},
	"DateStyle":                 {"SQL, DMY", "German"},
	"client_encoding":           {"LATIN1", "SJIS", "SQL_ASCII"},
	"session_preload_libraries": {"missing_library"},
	"local_preload_libraries":   {"missing_library"},
	"transaction_timeout":       {"10"},
	"statement_timeout":         {"10"},
	"default_tablespace":        {"pg_global"},
	"temp_tablespaces":          {"pg_default"},
}

// set stores a value, for the roles or for the databases, and says whether the server took it.
func (h *hostile) set(owner, name, value string) bool {
	taken := false
	owners := []string{"ROLE postgres", "ROLE " + replicator}
	if owner == "DATABASE" {
		owners = []string{"DATABASE postgres", "DATABASE template1"}
	}
	for _, owner := range owners {
		var statement string
		must(h.t, h.ca.session.QueryRow(h.t.Context(), "SELECT format('ALTER "+owner+" SET %I TO %L', $1::text, $2::text)", name, value).Scan(&statement))
		if strings.Contains(value, ", ") {
			statement = strings.Replace(statement, "'"+value+"'", value, 1)
		}
		_, err := h.ca.session.Exec(h.t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
		if _, refused := Answered(err); err != nil && !refused {
			h.t.Fatalf("%s: %v", statement, err)
		}
		taken = taken || err == nil
	}
	return taken
}

func (h *hostile) reset() {
	for _, owner := range []string{"ROLE postgres", "ROLE " + replicator, "DATABASE postgres", "DATABASE template1"} {
		h.ca.must(h.t, "ALTER "+owner+" RESET ALL")
	}
	h.refused = false
}

// TestSettingsThatStoppedAClusterDoNoHarm tries what real databases had.
func TestSettingsThatStoppedAClusterDoNoHarm(t *testing.T) {
	t.Parallel()
	h := newHostile(t, bindir)
	menaces := []menace{
		{"role", []string{"limited"}}, {"default_transaction_isolation", []string{"serializable"}},
		{"default_transaction_read_only", []string{"on"}}, {"TimeZone", []string{oddTimeZone}},
		{"local_preload_libraries", []string{"missing_library"}}, {"session_preload_libraries", []string{"missing_library"}},
		{"exit_on_error", []string{"on"}}, {"search_path", []string{"hostile, pg_catalog"}},
		{"statement_timeout", []string{"1"}}, {"idle_session_timeout", []string{"1"}},
	}
	if stored := h.allAtOnce("ROLE", menaces, 0); stored != len(menaces) {
		t.Errorf("the server took %d of %d settings", stored, len(menaces))
	}
}

// unavoidable are settings of a role or database by which a session of the replication role fails and
// which it may not override.
// An empty list of libraries is no less so: ALTER ROLE stores it as a library without a name.
var unavoidable = []string{"session_preload_libraries"}

// try runs every statement on both servers and returns what failed.
func (h *hostile) try() (failures []string) {
	h.replicated()
	for _, s := range statements {
		for _, on := range []struct {
			server *server
			ask    bool
		}{{h.a, s.primary}, {h.b, s.standby}} {
			if !on.ask {
				continue
			}
			ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
			if err := s.run(ctx, h, on.server); err != nil {
				failures = append(failures, fmt.Sprintf("%s on %s: %v", s.name, on.server.settings.Name, err))
			}
			cancel()
		}
	}
	return failures
}

// replicated waits until the standby has the settings, too.
func (h *hostile) replicated() {
	h.t.Helper()
	written := h.ca.lookNow(h.t).Written
	eventually(h.t, "the standby's replay", func() error {
		if l := h.cb.lookNow(h.t); l.Replayed < written {
			return fmt.Errorf("replayed to %s of %s", l.Replayed, written)
		}
		return nil
	})
}

func TestSessionsAreImmune(t *testing.T) {
	for _, bin := range bindirs(t) {
		major, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
		must(t, err)
		t.Run(strings.Fields(string(major))[2], func(t *testing.T) {
			h := newHostile(t, bin)
			seed := cmp.Or(*hostileSeed, uint64(time.Now().UnixNano()))
			h.draw = rand.New(rand.NewPCG(seed, 0))
			t.Logf("-pg.hostile.seed %d", seed)
			menaces := h.menaces()
			h.together(menaces)
			h.oneByOne(menaces)
			h.promotion(menaces)
		})
	}
}

// together tries all settings at once, each with its first value, its second and so on: with -pg.hostile
// every such round, else two that are drawn.
func (h *hostile) together(menaces []menace) {
	rounds := len(slices.MaxFunc(menaces, func(a, b menace) int { return len(a.values) - len(b.values) }).values)
	if *everySetting {
		for k := range rounds {
			h.allAtOnce("ROLE", menaces, k)
			h.allAtOnce("DATABASE", menaces, k)
		}
		return
	}
	h.allAtOnce("ROLE", menaces, h.draw.IntN(rounds))
	h.allAtOnce("DATABASE", menaces, h.draw.IntN(rounds))
}

// allAtOnce gives each setting its k-th value, and says how many the server took.
func (h *hostile) allAtOnce(owner string, menaces []menace, k int) int {
	h.t.Helper()
	stored := h.setAll(owner, menaces, k)
	failures := h.try()
	h.reset()
	if len(failures) == 0 {
		h.t.Logf("%s, values number %d: %d settings at once", owner, k, len(stored))
	} else {
		h.t.Errorf("%s, values number %d: %s", owner, k, strings.Join(failures, "\n"))
	}
	return len(stored)
}

func (h *hostile) setAll(owner string, menaces []menace, k int) (stored []menace) {
	for _, m := range menaces {
		if len(m.values) > 0 && h.set(owner, m.name, m.values[k%len(m.values)]) {
			stored = append(stored, m)
			h.refused = h.refused || slices.Contains(unavoidable, m.name)
		}
	}
	return stored
}

// alone tries one value of one setting.
func (h *hostile) alone(owner, name, value string) {
	h.t.Helper()
	if h.set(owner, name, value) {
		h.refused = slices.Contains(unavoidable, name)
		if failures := h.try(); len(failures) > 0 {
			h.t.Errorf("%s with %s = %q: %s", owner, name, value, strings.Join(failures, "\n"))
		}
	}
	h.reset()
}

// oneByOne tries settings by themselves: with -pg.hostile all, else one that is drawn.
func (h *hostile) oneByOne(menaces []menace) {
	if !*everySetting {
		m := menaces[h.draw.IntN(len(menaces))]
		h.alone("ROLE", m.name, m.values[h.draw.IntN(len(m.values))])
		return
	}
	for _, m := range menaces {
		for _, value := range m.values {
			h.alone("ROLE", m.name, value)
			h.alone("DATABASE", m.name, value)
		}
	}
}

// promotion promotes the standby while every setting is hostile.
func (h *hostile) promotion(menaces []menace) {
	h.setAll("ROLE", menaces, 1)
	h.setAll("DATABASE", menaces, 1)
	h.replicated()
	h.a.stop()
	ctx, cancel := context.WithTimeout(h.t.Context(), 40*time.Second)
	defer cancel()
	c, err := ConnectServer(ctx, h.b.local())
	must(h.t, err)
	defer c.Close(ctx)
	must(h.t, c.Promote(ctx))
	if i, err := AskRole(ctx, h.b.local()); err != nil || i.Standby {
		h.t.Errorf("%+v, %v", i, err)
	}
}

// notAsked are exported functions with a context that ask no server, or only close what is there.
var notAsked = []string{"Conn.Close"}

func TestEveryStatementIsTriedUnderHostileSettings(t *testing.T) {
	names, err := filepath.Glob("*.go")
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	var tried []string
	for _, s := range statements {
		tried = append(tried, s.name)
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || !takesContext(f) {
				continue
			}
			if name := receiver(f) + f.Name.Name; !slices.Contains(tried, name) && !slices.Contains(notAsked, name) {
				t.Errorf("%s is not in the table of statements that are tried under hostile settings", name)
			}
		}
	}
}

func takesContext(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		s, ok := p.Type.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Context"
	})
}

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return ""
	}
	return star.X.(*ast.Ident).Name + "."
}
