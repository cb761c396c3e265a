//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pgtwin/internal/ocf"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// mistake is something that is wrong with an instance, and what the agent has to say about it.
type mistake struct {
	name    string
	action  string // validate-all, deep (validate-all with a look at the host) or start
	spoil   map[string]string
	data    bool                                   // the data directory holds a database
	prepare func(context.Context, *lab.Host) error // makes the mistake, where a parameter does not
	code    ocf.Code
	says    string
}

// containers and packages are mistakes of one container_mode only.
func containers(s *scene, m ...mistake) []mistake {
	if s.c.Containers() {
		return m
	}
	return nil
}

func packages(s *scene, m ...mistake) []mistake {
	if s.c.Containers() {
		return nil
	}
	return m
}

func mistakes(s *scene) []mistake {
	all := []mistake{
		{name: "unknown runtime", action: "validate-all", spoil: params("container_runtime", "rkt"), code: ocf.ErrConfigured, says: "container_runtime"},
		{name: "malformed port", action: "validate-all", spoil: params("pgport", "54x2"), code: ocf.ErrConfigured, says: "pgport"},
		{name: "unknown parameter", action: "validate-all", spoil: params("pgdatta", "/srv"), code: ocf.ErrConfigured, says: "pgdatta"},
		{name: "relative directory", action: "validate-all", spoil: params("pgdata", "data"), code: ocf.ErrConfigured, says: "pgdata"},
		// From start 6 would stop the database on every node.
		{name: "malformed port at a start", action: "start", spoil: params("pgport", "54x2"), code: ocf.ErrArgs, says: "pgport"},
		{name: "unknown runtime at a start", action: "start", spoil: params("container_runtime", "rkt"), code: ocf.ErrArgs, says: "container_runtime"},

		{name: "database of another major version", action: "start", data: true, prepare: write("PG_VERSION", "15\n"), code: ocf.ErrArgs, says: "PostgreSQL 15"},
		{name: "database of another cluster", action: "start", data: true, prepare: recordEpoch, code: ocf.ErrArgs, says: "another cluster"},
		{name: "files that are no database", action: "start", prepare: write("notes.txt", "mine"), code: ocf.ErrArgs, says: "no database"},
		{name: "directory of root", action: "start", data: true, prepare: giveToRoot, code: ocf.ErrPerm, says: "root"},
		{name: "passfile that others can read", action: "start", spoil: params("pgpassfile", spareRoot+"/pgpass"), prepare: openPassFile, code: ocf.ErrPerm, says: "chmod 0600"},
		{name: "passfile that is not there", action: "start", spoil: params("pgpassfile", spareRoot+"/nothing"), code: ocf.ErrPerm, says: spareRoot + "/nothing"},
		{name: "synchronous_standby_names that cannot be read", action: "deep", data: true, code: ocf.ErrArgs, says: "synchronous_standby_names",
			prepare: write("postgresql.conf", "synchronous_standby_names = 'ANY 1 (h1'\n")},
		{name: "port in use", action: "start", spoil: params("pgport", "5432"), code: ocf.ErrGeneric, says: "port 5432"},
	}
	all = append(all, containers(s,
		mistake{name: "image that is not there", action: "start", spoil: params("container_image", "localhost/postgres:none"), code: ocf.ErrInstalled, says: "localhost/postgres:none"},
		mistake{name: "image of another major version", action: "start", spoil: params("pg_major_version", "16"), code: ocf.ErrArgs, says: "pg_major_version"},
		mistake{name: "runtime that does not run", action: "start", spoil: params("container_runtime", "docker"), code: ocf.ErrInstalled, says: "docker"},
		mistake{name: "image that is not there, seen by a deep check", action: "deep", spoil: params("container_image", "localhost/postgres:none"), code: ocf.ErrInstalled, says: "localhost/postgres:none"},
	)...)
	all = append(all, packages(s,
		mistake{name: "directory without programs", action: "start", spoil: params("pg_bindir", "/usr/share"), code: ocf.ErrInstalled, says: "/usr/share"},
		mistake{name: "directory without programs, seen by a deep check", action: "deep", spoil: params("pg_bindir", "/usr/share"), code: ocf.ErrInstalled, says: "/usr/share"},
	)...)
	return all
}

// badInput makes every mistake on a spare instance of the standby's host: each gets a clear error with the right code and
// changes nothing, neither in the spare data directory nor for the cluster.
func badInput(s *scene) {
	_, h := s.hosts()
	server, err := cluster.Postmaster(s.Context(), h)
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range mistakes(s) {
		s.tell(step(fmt.Sprintf("%s: %d from %s", m.name, m.code, m.action), func(ctx context.Context) error {
			defer func() { _ = forgetSpare(context.WithoutCancel(ctx), h) }()
			return m.make(ctx, s.c, h)
		}))
	}
	s.tell(
		step("the cluster has not noticed", func(ctx context.Context) error {
			now, err := cluster.Postmaster(ctx, h)
			return errors.Join(err, expect("the standby's process", now, server))
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}

func (m mistake) make(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	if err := makeSpare(ctx, h, m.data); err != nil {
		return err
	}
	if m.prepare != nil {
		if err := m.prepare(ctx, h); err != nil {
			return err
		}
	}
	given := spareParameters(c)
	for name, value := range m.spoil {
		given[name] = value
	}
	before, err := listing(ctx, h)
	if err != nil {
		return err
	}
	failed := m.call(ctx, h, given)
	after, err := listing(ctx, h)
	failed = errors.Join(failed, err, expect("the data directory", after, before))
	if _, err := call(ctx, h, spare, "stop", given); err != nil {
		failed = errors.Join(failed, fmt.Errorf("stop must succeed on what never ran: %w", err))
	}
	return errors.Join(failed, noSpareRuns(ctx, h))
}

// call makes the mistake and judges the answer.
func (m mistake) call(ctx context.Context, h *lab.Host, given map[string]string) error {
	action, env := m.action, []string(nil)
	if action == "deep" {
		action, env = "validate-all", []string{"OCF_CHECK_LEVEL=10"}
	}
	_, err := call(ctx, h, spare, action, given, env...)
	if code := cluster.ExitCode(err); code != int(m.code) {
		return fmt.Errorf("exit code %d, want %d: %w", code, m.code, err)
	}
	if !strings.Contains(err.Error(), m.says) || !strings.Contains(err.Error(), "ocf-exit-reason:") {
		return fmt.Errorf("no exit reason with %q: %w", m.says, err)
	}
	return nil
}

// listing is every file of the spare data directory with its owner, mode, size and time of change.
func listing(ctx context.Context, h *lab.Host) (string, error) {
	return h.Run(ctx, "find", spareData, "-printf", `%p %y %m %u %g %s %T@\n`)
}

func params(name, value string) map[string]string { return map[string]string{name: value} }

// write puts a file into the spare data directory.
func write(name, text string) func(context.Context, *lab.Host) error {
	return func(ctx context.Context, h *lab.Host) error {
		return cluster.Write(ctx, h, spareData+"/"+name, "postgres", 0o600, text)
	}
}

// recordEpoch records a promotion of a cluster that has another system identifier.
func recordEpoch(ctx context.Context, h *lab.Host) error {
	const epoch = "epoch=1 system=1 timeline=1 highest=1 switch=0/3000060 node=h1"
	_, err := h.Run(ctx, "crm_attribute", "--type=crm_config", "--name="+spareEpoch, "--update="+epoch)
	return err
}

func giveToRoot(ctx context.Context, h *lab.Host) error {
	_, err := h.Run(ctx, "chown", "-R", "root:root", spareData)
	return err
}

func openPassFile(ctx context.Context, h *lab.Host) error {
	return cluster.Write(ctx, h, spareRoot+"/pgpass", "postgres", 0o644, "*:*:replication:replicator:secret\n")
}
