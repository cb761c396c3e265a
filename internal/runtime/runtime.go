// Package runtime runs PostgreSQL's programs: in a podman container, in a
// docker container, or straight from the host's packages. It knows how a
// program gets its user, directories, limits, log and place in systemd's tree
// with each of the three, and makes them behave alike.
//
// It refuses to know what the programs do: no PostgreSQL option, no cluster, no
// unit. It never pulls an image on its own, never stops a database gently (that
// is a signal to the postmaster, sent by the caller) and never restarts one.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"
)

// Mount makes a directory or file of the host visible in a container.
type Mount struct {
	Source   string // path on the host; must exist
	Target   string // path in the container
	ReadOnly bool
}

// Spec describes one program to run.
type Spec struct {
	Name        string   // container name; on the host only a handle for Wait
	Image       string   // Image.ID; ignored on the host
	Argv        []string // Argv[0] is a bare program name such as "postgres"
	Env         []string // KEY=VALUE, the only variables besides PATH and the image's own
	UID, GID    uint32   // owner of the data directory
	Groups      []uint32 // supplementary groups, by the host's numbers
	Mounts      []Mount  // ignored on the host
	ShmSize     int64    // bytes of /dev/shm, 0 for the runtime's default; ignored on the host
	Slice, Unit string   // systemd slice and service of the instance
	Dir         string   // working directory, default /
}

// Image is a container image present on this host. The zero Image stands for
// the host's packages.
type Image struct {
	ID     string // sha256:..., what Spec.Image takes
	Digest string // sha256:... of the manifest, equal on all hosts; "" for an image that was never in a registry
	Name   string // the name it was asked for by
	Major  int    // PostgreSQL's major version if the image says so, else 0
}

// Started tells where a database runs.
type Started struct {
	PID int // the program's process in the host's PID namespace
	// MainPID is the process that systemd is to supervise in our place, by
	// MAINPID= (sd_notify(3)): it ends with the program, with its exit status.
	// 0: there is none in our unit, the caller must stay and Wait.
	MainPID int
}

// Options say what Open needs to know of an instance.
type Options struct {
	Instance string       // value of the label pgtwin.instance, see Runtime.Running
	DataDir  string       // host path of the data directory, see Runtime.Running
	StateDir string       // writable directory under /run for sockets and generated files
	BinDir   string       // host: directory of PostgreSQL's programs, "" to search
	Major    int          // host: PostgreSQL's major version to search for, 0 for the newest
	Log      *slog.Logger // nil discards
}

var (
	// ErrImageMissing says that an image is not on this host.
	ErrImageMissing = errors.New("the image is not on this host, pull it with pgtwin-helper pull")
	// ErrNotInstalled says that podman, docker or PostgreSQL is not on this host.
	ErrNotInstalled = errors.New("not installed")
	// ErrInterrupted says that the service by which containers are run ended in
	// the midst of it. What was asked for may have been begun.
	ErrInterrupted = errors.New("the container service has ended")
)

// A Runtime runs programs in one of the three ways. Its methods may be called
// concurrently, only Start and Close not beside others. All but Close and Name
// stop waiting when ctx ends.
type Runtime interface {
	// Name is "podman", "docker" or "host".
	Name() string
	// Image finds an image on this host, by name or ID; ErrImageMissing if it
	// is not there. It never pulls. The host has only the zero Image.
	Image(ctx context.Context, name string) (Image, error)
	// Start starts the database and returns as soon as its process runs. It
	// goes on when we exit. What it prints reaches the unit's journal.
	Start(ctx context.Context, s Spec) (Started, error)
	// Run runs a job to its end in the same control group and writes what it
	// prints, stdout and stderr, to output. exit is its exit status, 128+N if
	// signal N killed it. No process of it is left when Run returns, also when
	// ctx ended it.
	Run(ctx context.Context, s Spec, output io.Writer) (exit int, err error)
	// Wait waits for the end of what Start started under this name and returns
	// its exit status. On the host it must be the same Runtime that started it.
	Wait(ctx context.Context, name string) (exit int, err error)
	// Remove kills what runs under this name and removes its record. Nothing
	// under this name is no error.
	Remove(ctx context.Context, name string) error
	// Running names the running containers of our instance (label
	// pgtwin.instance) and those, whoever started them, that mount the data
	// directory or a directory in it. The host has none: a scan of /proc finds
	// processes, and those in containers too.
	Running(ctx context.Context) ([]string, error)
	// Close ends our own helper processes; never the database.
	Close() error
}

// Open opens a runtime: kind is "host", "podman", "docker" or "auto", which is
// podman where it is installed, else docker. The error is ErrNotInstalled if
// there is none; a docker daemon that is installed but does not answer is
// another error, because its containers may well be running.
func Open(ctx context.Context, kind string, opts Options) (Runtime, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	switch kind {
	case "host":
		return newHost(opts), nil
	case "podman":
		return openPodman(opts)
	case "docker":
		return openDocker(ctx, opts)
	case "auto":
		if _, err := exec.LookPath("podman"); err == nil {
			return openPodman(opts)
		}
		if dockerInstalled() {
			return openDocker(ctx, opts)
		}
		return nil, fmt.Errorf("cannot run containers: podman and docker are %w, install one of them", ErrNotInstalled)
	}
	return nil, fmt.Errorf("cannot open runtime %q: it must be host, podman, docker or auto", kind)
}

// Pull fetches an image from its registry into the runtime's storage, with the
// registries, certificates and credentials that the runtime is configured for.
func Pull(ctx context.Context, r Runtime, name string) (Image, error) {
	p, ok := r.(interface {
		pull(ctx context.Context, name string) error
	})
	if !ok {
		return Image{}, fmt.Errorf("cannot pull %s: the %s runtime has no images, install PostgreSQL's packages instead", name, r.Name())
	}
	if err := p.pull(ctx, name); err != nil {
		return Image{}, fmt.Errorf("cannot pull image %s: %w", name, err)
	}
	return r.Image(ctx, name)
}

// cleanupTimeout bounds what must happen after the caller's context has ended.
const cleanupTimeout = 20 * time.Second

// poll is how often something that cannot be waited for is looked at.
const poll = 5 * time.Millisecond

// outliving returns a context for such work: it keeps ctx's values only.
func outliving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

// exitStatus turns the end of a process into the status a shell would show.
func exitStatus(state *os.ProcessState) int {
	if code := state.ExitCode(); code >= 0 {
		return code
	}
	return 128 + signalOf(state)
}
