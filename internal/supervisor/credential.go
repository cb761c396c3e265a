package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// How often the password file is looked at, and how often a password that does not work yet is tried.
const (
	secretPeriod = 2 * time.Second
	secretRetry  = 5 * time.Second
)

// secret is what the loop knows of the password file.
type secret struct {
	file    string        // where it is, "": to be searched for
	wanted  pg.Credential // in the file when it was last in order; this role is prepared on a primary
	problem string        // for the administrator, "" for none
	at      time.Time     // of the last look
	tried   time.Time     // when the file's credential was last tried
	looking bool          // a look is under way
	another bool          // the configuration has another role yet
}

// glance is one look at the password file: a snapshot of what it goes by, and what came of it.
type glance struct {
	instance   config.Instance
	role       ha.Role
	primary    string // the recorded one
	credential pg.Credential
	secret     secret
	changed    bool // credential is another one than before, and in the copy that libpq reads
}

// beginSecret finds the credential of this host, also where the file is spoiled but the copy is there.
func (s *Supervisor) beginSecret() error {
	found, err := instance.ReadSecret(s.Instance, "")
	if err != nil {
		return err
	}
	s.credential = found.Used
	s.secret = secret{file: found.File, wanted: found.Wanted}
	return nil
}

// keepSecret looks at the password file when that is due, beside the loop: it may be on a file system that
// hangs, and other hosts are asked.
func (s *Supervisor) keepSecret(ctx context.Context) {
	s.configureRole(ctx)
	if s.secret.looking || time.Since(s.secret.at) < secretPeriod {
		return
	}
	s.secret.looking, s.secret.at = true, time.Now()
	g := glance{instance: s.Instance, role: s.seen.role, primary: s.view.Epoch.Node, credential: s.credential, secret: s.secret}
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.life, lookTimeout)
		defer cancel()
		g.look(ctx)
		if g.changed {
			s.Log.Info("the replication password has changed", "file", g.secret.file, "role", g.credential.User)
		}
		select {
		case s.glances <- g:
		case <-s.life.Done():
		}
	})
}

// look reads the file, and where it has another credential than the one in use, uses that once it works. The
// role's password may be changed before the files or after them.
func (g *glance) look(ctx context.Context) {
	found, err := instance.ReadSecret(g.instance, g.secret.file)
	if err == nil {
		err = found.Problem
	}
	if err != nil {
		g.secret.file = "" // perhaps it is elsewhere now
		g.secret.problem = fmt.Sprintf("%v; pgtwin goes on with the password that it used before", err)
		g.restore(found)
		return
	}
	g.secret.file, g.secret.wanted = found.File, found.Wanted
	if found.Settled() || g.credential == found.Wanted {
		g.use(found.Wanted)
		return
	}
	if time.Since(g.secret.tried) < secretRetry {
		return
	}
	g.secret.tried = time.Now()
	if err := g.try(ctx); err != nil {
		g.secret.problem = fmt.Sprintf("the password of %s in %s is not in use yet, and pgtwin goes on with the one before: %v", found.Wanted.User, found.File, err)
		if g.role == ha.Primary {
			g.secret.problem = "" // the housekeeping says more
		}
		g.restore(found)
		return
	}
	g.use(found.Wanted)
}

// try finds out whether the wanted credential works: the primary's catalogs say so, or the primary itself.
func (g *glance) try(ctx context.Context) error {
	switch {
	case g.role == ha.Primary:
		return g.compare(ctx)
	case g.role == ha.Standby && g.primary != "" && g.primary != g.instance.Node:
		return pg.Authenticate(ctx, instance.Upstream(g.instance, g.credential, g.primary), g.secret.wanted)
	}
	return errors.New("there is no primary to try it on")
}

func (g *glance) compare(ctx context.Context) error {
	conn, err := pg.ConnectAnywhere(ctx, instance.Local(g.instance))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	has, err := conn.HasPassword(ctx, g.secret.wanted)
	if err == nil && !has {
		err = errors.New("the role has another one, or does not exist")
	}
	return err
}

// use makes a credential the one that libpq reads and this host connects by.
func (g *glance) use(c pg.Credential) {
	if err := g.write(c); err != nil {
		g.secret.problem = err.Error()
		return
	}
	g.changed = g.credential != c
	g.credential, g.secret.problem = c, ""
}

// restore makes sure of the copy where it has been lost.
func (g *glance) restore(found instance.Secret) {
	if found.Used.User != "" && found.Problem == nil && !found.Settled() {
		return // it is there
	}
	if err := g.write(g.credential); err != nil {
		g.secret.problem = err.Error()
	}
}

func (g *glance) write(c pg.Credential) error {
	uid, gid, err := pg.Owner(g.instance.PGData)
	if err != nil {
		return nil // there is no database that would read it
	}
	return pg.WritePassFile(config.PassFileCopy(g.instance.Name), c, uid, gid)
}

// takeSecret makes a look at the password file known to the loop.
func (s *Supervisor) takeSecret(g glance) {
	another := s.secret.another || g.credential.User != s.credential.User
	s.secret, s.credential = g.secret, g.credential
	s.secret.looking, s.secret.another = false, another
}

// configureRole makes another role known to PostgreSQL: it is in primary_conninfo and in pg_hba.conf. A
// standby that is yet to be told whom to follow learns of it then.
func (s *Supervisor) configureRole(ctx context.Context) {
	ready := s.seen.role == ha.Primary || s.seen.role == ha.Standby && s.follows != ""
	if !s.secret.another || s.conn == nil || !ready {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := s.configure(ctx, s.follows, s.required(), s.spared()); err != nil {
		s.Log.Warn("cannot change the replication role to that of the password file", "error", err)
		return
	}
	s.secret.another = false
}
