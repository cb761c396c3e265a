// Package cluster is a database cluster under test: hosts of the lab with pgtwin installed from the list of
// `make install`, configured as an administrator would, and asked what they say about themselves. It knows the tools
// that administrators have and uses no other way in; what is right or wrong is for the scenarios to say.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// The names of the configuration, as users have them.
const (
	Instance = "postgres-ha"
	Unit     = "pgtwin@postgres-ha.service"
	Watcher  = "pgtwin-supervisor@postgres-ha.service"

	Resource = "postgres-db"
	Clone    = "postgres-clone"
	Address  = "postgres-vip"

	DataDir  = "/var/lib/pgsql/data"
	PassFile = "/var/lib/pgsql/.pgpass"
	BinDir   = "/usr/lib/postgresql/17/bin"
	Image    = "localhost/postgres:17"
	HTTPPort = 8008

	// Ledger is the clients' database: not postgres, which is dropped in one scenario.
	Ledger = "ledger"
)

// Options says what kind of cluster to bring up.
type Options struct {
	Hosts       int       // number of hosts; 2 when zero
	Containers  bool      // container_mode
	Runtime     string    // container_runtime; "" leaves it to pgtwin, which takes podman
	Notify      bool      // the clone has notify=true
	Base        string    // Debian release of the hosts; "" is the lab's own choice, with PostgreSQL 17
	Preferences bool      // location constraints for the promoted role: h1 before h2
	Tree        string    // the tree that the hosts are installed from; see Tree
	Log         io.Writer // progress, a line per step; may be nil
}

// Cluster is a cluster that is up.
type Cluster struct {
	*lab.Lab
	options Options
	secret  string   // of the replication role
	former  []string // secrets that were in use before
	login   ledger.Login
}

// Up boots the hosts, installs them and gives them what the administrator provides: the passfile and pgtwin.toml.
// The database is not configured yet.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	l, err := lab.Up(ctx, lab.Options{Base: o.Base, Hosts: o.Hosts, Install: o.Tree, Log: o.Log})
	if err != nil {
		return nil, err
	}
	c := &Cluster{Lab: l, options: o, secret: rand.Text()}
	c.login = ledger.Login{User: "ledger", Password: rand.Text(), Port: 5432, Database: Ledger}
	for _, h := range l.Hosts() {
		err = errors.Join(err,
			c.WritePassFile(ctx, h),
			Write(ctx, h, "/etc/pgtwin/pgtwin.toml", "root", 0o644, settings))
	}
	if o.Runtime == "docker" {
		err = errors.Join(err, c.startDocker(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the hosts: %w", err)
	}
	return c, nil
}

// startDocker starts dockerd, which the lab keeps off, and gives it the image that podman has.
func (c *Cluster) startDocker(ctx context.Context) error {
	const tar = "/usr/share/pgtwin-lab/postgres-17.tar"
	for _, h := range c.Hosts() {
		if _, err := h.Run(ctx, "systemctl", "start", "docker.service"); err != nil {
			return fmt.Errorf("cannot start docker on %s: %w", h.Name(), err)
		}
		if _, err := h.Run(ctx, "docker", "import", "--change", "ENV PATH="+BinDir+":/usr/bin:/bin", tar, Image); err != nil {
			return fmt.Errorf("cannot import the image on %s: %w", h.Name(), err)
		}
	}
	return nil
}

// Containers says whether PostgreSQL runs in containers.
func (c *Cluster) Containers() bool { return c.options.Containers }

// Mode is the container_mode in words.
func (c *Cluster) Mode() string {
	switch {
	case c.options.Runtime != "":
		return c.options.Runtime
	case c.options.Base != "":
		return "containers, PostgreSQL " + lab.PostgreSQL(c.options.Base)
	case c.options.Containers:
		return "containers"
	}
	return "host packages"
}

// Configure loads the configuration of the database, by which it starts.
func (c *Cluster) Configure(ctx context.Context) error {
	const file = "/root/pgtwin.crm"
	h := c.Hosts()[0]
	if err := Write(ctx, h, file, "root", 0o600, Configuration(c.options)); err != nil {
		return err
	}
	if _, err := h.Run(ctx, "crm", "configure", "load", "update", file); err != nil {
		return fmt.Errorf("cannot load the configuration: %w", err)
	}
	return nil
}

// Secrets are the passwords of the cluster and its clients, which must be nowhere to be read.
func (c *Cluster) Secrets() []string {
	return append([]string{c.secret, c.login.Password}, c.former...)
}

// NewSecret draws another password for the replication role. It is in no file and in no database yet.
func (c *Cluster) NewSecret() {
	c.former = append(c.former, c.secret)
	c.secret = rand.Text()
}

// WritePassFile writes the replication role's password, as it is now, into a host's password file.
func (c *Cluster) WritePassFile(ctx context.Context, h *lab.Host) error {
	return Write(ctx, h, PassFile, "postgres", 0o600, passFile(c.secret))
}

// AlterPassword gives the replication role its password, as it is now.
func (c *Cluster) AlterPassword(ctx context.Context, primary *lab.Host) error {
	_, err := SQL(ctx, primary, fmt.Sprintf("alter role replicator password '%s'", c.secret)) // letters and digits
	return err
}

// Client is how a client named name gets to the database through the virtual address.
func (c *Cluster) Client(name string) ledger.Login {
	login := c.login
	login.Name, login.Hosts = name, []string{lab.VirtualIP}
	return login
}

// DirectClient is how a client named name that knows the hosts gets to whichever takes writes.
func (c *Cluster) DirectClient(name string) ledger.Login {
	login := c.login
	login.Name = name
	for _, h := range c.Hosts() {
		login.Hosts = append(login.Hosts, h.Addr())
	}
	return login
}

// Admit lets the ledger's clients in: a role, a database and its tables on the primary, and on both hosts the line in the
// administrator's pg_hba.conf, which a clone that was made before does not have.
func (c *Cluster) Admit(ctx context.Context) error {
	primary, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	for _, h := range c.Hosts() {
		const line = "host all ledger all scram-sha-256\n"
		if _, err := h.RunInput(ctx, line, "tee", "--append", DataDir+"/pg_hba.conf"); err != nil {
			return fmt.Errorf("cannot admit the clients on %s: %w", h.Name(), err)
		}
		if _, err := SQL(ctx, h, "select pg_reload_conf()"); err != nil {
			return fmt.Errorf("cannot admit the clients on %s: %w", h.Name(), err)
		}
	}
	role := fmt.Sprintf("create role %s login password '%s';\n", c.login.User, c.login.Password) // both are letters and digits
	if _, err := SQL(ctx, primary, role+"create database "+Ledger+";"); err != nil {
		return fmt.Errorf("cannot make the clients' role and database: %w", err)
	}
	if _, err := SQLIn(ctx, primary, Ledger, ledger.Schema); err != nil {
		return fmt.Errorf("cannot make the clients' tables: %w", err)
	}
	return nil
}

// Other returns the other one of two hosts, another one of more.
func (c *Cluster) Other(h *lab.Host) *lab.Host {
	for _, other := range c.Hosts() {
		if other.Name() != h.Name() {
			return other
		}
	}
	return h
}
