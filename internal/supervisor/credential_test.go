package supervisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// rotation is a primary with its replication role, the password file of its host, and another host's
// supervisor, for which the same server is the primary that it follows.
type rotation struct {
	*testing.T
	s    *Supervisor
	file string
	// problems are the role's, as the last housekeeping of the primary found them.
	problems []string
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
	r := &rotation{T: t, s: s, file: filepath.Join(t.TempDir(), "pgpass")}
	s.Instance.PassFile, s.Instance.Addresses = r.file, map[string]string{"h2": "127.0.0.1"}
	r.write("replicator", "secret")
	must(t, s.beginSecret())
	r.look()
	r.keepHouse()
	return r
}

func (r *rotation) write(user, password string) {
	r.Helper()
	must(r.T, os.WriteFile(r.file, []byte("*:*:replication:"+user+":"+password+"\n"), 0o600))
}

func (r *rotation) alter(password string) {
	r.Helper()
	r.sql("ALTER ROLE replicator PASSWORD '" + password + "'")
}

// sql is done by psql, as the administrator would.
func (r *rotation) sql(statement string) {
	r.Helper()
	out, err := program(r.T, []string{"psql", "-XAtw", "-h", r.s.Instance.SocketDir, "-p", fmt.Sprint(r.s.Instance.Port), "-c", statement, "postgres"}).CombinedOutput()
	if err != nil {
		r.Fatalf("%v: %s", err, out)
	}
}

// look is one look at the password file, the time for the next try having come.
func (r *rotation) look() {
	r.Helper()
	g := glance{instance: r.s.Instance, role: r.s.seen.role, primary: r.s.view.Epoch.Node, credential: r.s.credential, secret: r.s.secret}
	g.secret.tried = time.Time{}
	g.look(r.Context())
	r.s.takeSecret(g)
	r.s.configureRole(r.Context())
}

func (r *rotation) keepHouse() {
	r.Helper()
	h := house{instance: r.s.Instance, credential: r.s.secret.wanted, passFile: r.s.secret.file, members: 2, log: r.s.Log, primary: true, timeline: r.s.seen.look.Timeline}
	r.problems = h.keep(r.Context()).advice
}

// standby makes the supervisor that of a standby on another host, which follows h2.
func (r *rotation) standby() {
	r.s.seen.role, r.s.view.Epoch.Node, r.s.follows = ha.Standby, "h2", "h2"
}

// primary makes it that of the primary's own host again.
func (r *rotation) primary() { r.s.seen.role, r.s.view.Epoch.Node, r.s.follows = ha.Primary, "h1", "" }

// mustWait fails where a standby does not say that the password of its file is not in use yet.
func (r *rotation) mustWait(when string) {
	r.Helper()
	if !strings.Contains(r.s.secret.problem, "is not in use yet") || strings.Contains(r.s.secret.problem, "rotated") {
		r.Errorf("%s: the standby says %q", when, r.s.secret.problem)
	}
}

// mustBeSettled fails where something is still said of a password that is in use.
func (r *rotation) mustBeSettled(when string) {
	r.Helper()
	if r.s.secret.problem != "" {
		r.Errorf("%s: still %q", when, r.s.secret.problem)
	}
}

// works says whether libpq's file opens a connection of a standby's kind.
func (r *rotation) works() error {
	used, err := pg.ReadWritten(config.PassFileCopy(r.s.Instance.Name))
	if err != nil {
		return err
	}
	return pg.Authenticate(r.Context(), instance.Upstream(r.s.Instance, used, "h2"), used)
}

func (r *rotation) mustWork(when string) {
	r.Helper()
	if err := r.works(); err != nil {
		r.Errorf("%s: %v", when, err)
	}
}

func TestAPasswordIsChangedInTheFilesFirst(t *testing.T) {
	r := newRotation(t)
	r.mustWork("before")
	r.write("replicator", "rotated")
	for _, host := range []func(){func() {}, r.standby} {
		host()
		r.look()
		r.keepHouse()
		r.mustWork("with the new password in the file of " + string(r.s.seen.role))
	}
	if !strings.Contains(strings.Join(r.problems, "\n"), "the password of replicator in "+r.file+" is not the role's") {
		t.Errorf("the difference is not named: %q", r.problems)
	}
	r.mustWait("with the new password in the file")
	// The supervisor is restarted in the middle.
	must(t, r.s.beginSecret())
	r.mustWork("after a restart of the supervisor")
	r.look()
	r.mustWait("after a restart of the supervisor") // what it says is to go by the change of the role alone

	r.alter("rotated")
	if r.works() == nil {
		t.Error("the old password still works: pgtwin put it back, or this test tests nothing")
	}
	r.look()
	r.mustWork("with the new password in the file and the role")
	r.mustBeSettled("with the new password in the file and the role")
	r.keepHouse()
	if strings.Contains(strings.Join(r.problems, "\n"), "replicator") || r.s.credential.Password != "rotated" {
		t.Errorf("problems %q", r.problems)
	}
}

func TestAPasswordIsChangedInTheRoleFirst(t *testing.T) {
	r := newRotation(t)
	r.alter("rotated")
	r.look()
	r.keepHouse()
	if r.works() == nil {
		t.Error("the old password still works: pgtwin put it back")
	}
	if !strings.Contains(strings.Join(r.problems, "\n"), "is not the role's") {
		t.Errorf("the difference is not named: %q", r.problems)
	}
	for _, host := range []func(){func() {}, r.standby} {
		host()
		r.write("replicator", "roatted") // the administrator mistypes it first
		if r.look(); r.s.seen.role == ha.Standby {
			r.mustWait("with a mistyped password")
		}
		r.write("replicator", "rotated")
		r.look()
		r.mustWork("with the new password in the file of " + string(r.s.seen.role))
		r.mustBeSettled("with the new password in the file of " + string(r.s.seen.role))
		// The next host has the old one yet.
		must(t, pg.WritePassFile(config.PassFileCopy(r.s.Instance.Name), pg.Credential{User: "replicator", Password: "secret"}, 0, 0))
		r.s.credential.Password = "secret"
	}
}

// What is in the file does not matter while it is wrong, and counts again when it is right.
func TestASpoiledPasswordFileKeepsTheLastPassword(t *testing.T) {
	r := newRotation(t)
	for says, spoil := range map[string]func(){
		"cannot find the replication role": func() { must(t, os.WriteFile(r.file, nil, 0o600)) },
		"chmod 0600":                       func() { must(t, os.Chmod(r.file, 0o644)) },
		"cannot read password file":        func() { must(t, os.Remove(r.file)) },
		"ends in a blank":                  func() { r.write("replicator", "secret ") },
	} {
		t.Run(says, func(t *testing.T) {
			spoil()
			must(t, os.Remove(config.PassFileCopy(r.s.Instance.Name))) // and libpq's own file is lost
			r.look()
			if !strings.Contains(r.s.secret.problem, says) || !strings.Contains(strings.Join(r.s.state().Warnings, "\n"), says) {
				t.Errorf("problem %q", r.s.secret.problem)
			}
			r.mustWork("with a spoiled file")
			must(t, r.s.beginSecret())
			r.mustWork("after a restart of the supervisor")
			if r.look(); !strings.Contains(r.s.secret.problem, says) {
				t.Errorf("after a restart of the supervisor: problem %q", r.s.secret.problem)
			}
			os.Remove(r.file)
			r.write("replicator", "secret")
			r.look()
			r.mustBeSettled("after the repair")
		})
	}
}

func TestAnotherRoleInThePasswordFileIsConfigured(t *testing.T) {
	r := newRotation(t)
	r.write("other", "pw")
	for _, host := range []func(){func() {}, r.standby} {
		host()
		r.look() // the role does not exist yet
		r.mustWork("before the role exists, on a " + string(r.s.seen.role))
	}
	r.mustWait("before the role exists")
	r.primary()
	r.keepHouse()
	r.look()
	r.mustBeSettled("with the role")
	if r.s.credential.User != "other" || !has(t, config.HBAConf(r.s.Instance.Name), `replication "other"`) {
		t.Fatalf("the role is %s", r.s.credential.User)
	}
	for end := time.Now().Add(40 * time.Second); r.works() != nil; {
		if time.Now().After(end) {
			t.Fatal(r.works())
		}
		time.Sleep(20 * time.Millisecond)
	}
	// A standby that follows this primary is told of it, too.
	must(t, pg.WritePassFile(config.PassFileCopy(r.s.Instance.Name), pg.Credential{User: "replicator", Password: "secret"}, 0, 0))
	r.s.credential = pg.Credential{User: "replicator", Password: "secret"}
	r.standby()
	r.look()
	if !has(t, config.ManagedConf(r.s.Instance.Name), "user=other") {
		t.Error("primary_conninfo has the role of before")
	}
}

// The container that PostgreSQL runs in sees the file that was there when it was made.
func TestThePasswordFileOfLibpqStaysTheSameFile(t *testing.T) {
	r := newRotation(t)
	mounted, err := os.Open(config.PassFileCopy(r.s.Instance.Name))
	must(t, err)
	defer mounted.Close()
	r.write("replicator", "longer and longer")
	r.alter("longer and longer")
	r.look()
	r.mustWork("with a longer password")
	r.write("replicator", "short")
	r.alter("short")
	r.look()
	r.mustWork("with a shorter password")
	seen, err := io.ReadAll(mounted)
	if err != nil || string(seen) != "*:*:*:replicator:short\n" {
		t.Errorf("the container sees %q, %v", seen, err)
	}
}
