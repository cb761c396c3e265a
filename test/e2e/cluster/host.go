package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/test/lab"
)

// stale is the age from which the supervisor's state file says nothing about the present.
const stale = 5 * time.Second

// Status is what the supervisor on a host says. An old state is an error.
func Status(ctx context.Context, h *lab.Host) (control.State, error) { return StatusOf(h, Instance) }

// StatusOf is Status for another instance of the host.
func StatusOf(h *lab.Host, instance string) (control.State, error) {
	var st control.State
	out, err := h.ReadFile(config.StatusFile(instance))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return st, fmt.Errorf("cannot read the status of %s: %w", h.Name(), err)
	}
	if age := time.Since(st.Updated); age > stale {
		return st, fmt.Errorf("the supervisor on %s has been silent for %s", h.Name(), age.Round(time.Second))
	}
	return st, nil
}

// Primary returns the host whose PostgreSQL is primary now.
func (c *Cluster) Primary(ctx context.Context) (*lab.Host, error) {
	for _, h := range c.Hosts() {
		if !h.Running() || h.Frozen() {
			continue
		}
		if st, err := Status(ctx, h); err == nil && st.Role == ha.Primary {
			return h, nil
		}
	}
	return nil, errors.New("no host is primary")
}

// SQL runs statements as the administrator does on the host, and returns what psql prints, unadorned.
func SQL(ctx context.Context, h *lab.Host, statements string) (string, error) {
	return SQLAt(ctx, h, 5432, statements)
}

// SQLAt is SQL for the server on another port of the host.
func SQLAt(ctx context.Context, h *lab.Host, port int, statements string) (string, error) {
	return psql(ctx, h, port, "postgres", statements)
}

// SQLIn is SQL in another database.
func SQLIn(ctx context.Context, h *lab.Host, database, statements string) (string, error) {
	return psql(ctx, h, 5432, database, statements)
}

// ownSettings are those of the tests' sessions, whatever an event sets for roles and databases (libpq, "options").
const ownSettings = `-c statement_timeout=0 -c role=none -c default_transaction_read_only=off -c default_transaction_deferrable=off ` +
	`-c default_transaction_isolation=read\\ committed`

func psql(ctx context.Context, h *lab.Host, port int, database, statements string) (string, error) {
	out, err := h.RunInput(ctx, statements, Programs(h)+"/psql", "-h", "/run/postgresql", "-p", strconv.Itoa(port), "-U", "postgres",
		"--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "dbname="+database+" options='"+ownSettings+"'")
	return strings.TrimSpace(out), err
}

// Programs is where the host's package has PostgreSQL's programs.
func Programs(h *lab.Host) string { return "/usr/lib/postgresql/" + h.PostgreSQL() + "/bin" }

// Write writes a file on a host; the text is in no command line.
func Write(ctx context.Context, h *lab.Host, path, owner string, mode fs.FileMode, text string) error {
	_, err := h.RunInput(ctx, text, "install", "-D", "-o", owner, "-g", owner, "-m", fmt.Sprintf("%04o", mode.Perm()), "/dev/stdin", path)
	return err
}

// Property asks systemd for a property of a unit.
func Property(ctx context.Context, h *lab.Host, unit, name string) (string, error) {
	out, err := h.Run(ctx, "systemctl", "show", "--value", "--property="+name, unit)
	return strings.TrimSpace(out), err
}

// MainPID is the main process of a unit, in the host's own numbering; 0 where the unit has none.
func MainPID(ctx context.Context, h *lab.Host, unit string) (int, error) {
	out, err := Property(ctx, h, unit, "MainPID")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// Postmaster is the server's process, in the host's own numbering, found without pgtwin: the oldest of that name.
func Postmaster(ctx context.Context, h *lab.Host) (int, error) {
	out, err := h.Run(ctx, "pgrep", "--oldest", "--exact", "postgres")
	if err != nil {
		return 0, fmt.Errorf("there is no PostgreSQL on %s: %w", h.Name(), err)
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// Processes returns PostgreSQL's processes on a host, none when it does not run.
func Processes(ctx context.Context, h *lab.Host) ([]string, error) {
	out, err := h.Run(ctx, "pgrep", "--exact", "postgres")
	if ExitCode(err) == 1 { // pgrep(1): no process matched
		return nil, nil
	}
	return strings.Fields(out), err
}

// Kill ends a process of a host by SIGKILL.
func Kill(ctx context.Context, h *lab.Host, pid int) error {
	_, err := h.Run(ctx, "kill", "-KILL", strconv.Itoa(pid))
	return err
}

// ExitCode is the exit status in an error of a program on a host; -1 where it did not exit by itself.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}
