package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/containers/podman/v5/pkg/bindings/containers"
	"github.com/containers/podman/v5/pkg/bindings/images"
)

// Podman runs the programs in podman containers, through API services of our
// own: one for questions and the database, one more for each job.
type Podman struct {
	opts Options

	mu     sync.Mutex
	shared *podmanService // nil until needed
}

func openPodman(opts Options) (*Podman, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, fmt.Errorf("cannot run containers: podman is %w, install the package podman", ErrNotInstalled)
	}
	return &Podman{opts: opts}, nil
}

// Name implements Runtime.
func (p *Podman) Name() string { return "podman" }

// service returns the shared service, started at its first use.
func (p *Podman) service(ctx context.Context) (*podmanService, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared != nil && p.shared.alive() {
		return p.shared, nil
	}
	v, err := startPodmanService(ctx, p.opts.StateDir, os.Stdout, os.Stderr)
	if err == nil {
		p.shared = v
	}
	return v, err
}

// Close implements Runtime.
func (p *Podman) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared != nil {
		p.shared.stop()
		p.shared = nil
	}
	return nil
}

// Image implements Runtime.
func (p *Podman) Image(ctx context.Context, name string) (Image, error) {
	v, err := p.service(ctx)
	if err != nil {
		return Image{}, err
	}
	image, _, err := podmanImage(v.with(ctx), name)
	return image, v.interrupted(err)
}

// podmanImage inspects an image; env is the image's environment.
func podmanImage(ctx context.Context, name string) (image Image, env []string, err error) {
	found, err := images.GetImage(ctx, name, nil)
	if podmanMissing(err) {
		return Image{}, nil, fmt.Errorf("cannot use image %s: %w", name, ErrImageMissing)
	}
	if err != nil {
		return Image{}, nil, fmt.Errorf("cannot inspect image %s: %w", name, err)
	}
	if found.Config != nil {
		env = found.Config.Env
	}
	image = Image{
		ID:     "sha256:" + strings.TrimPrefix(found.ID, "sha256:"),
		Digest: digestOf(found.RepoDigests, name),
		Name:   name,
		Major:  majorOf(env, found.Labels),
	}
	return image, env, nil
}

// Start implements Runtime.
func (p *Podman) Start(ctx context.Context, s Spec) (started Started, err error) {
	v, err := p.service(ctx)
	if err != nil {
		return Started{}, err
	}
	// Started in mode split, the service and we ourselves have moved one group
	// down: what it would start next would nest below that.
	defer p.Close()
	defer func() { err = v.interrupted(err) }()
	id, err := p.launch(v.with(ctx), s, databasePlacement(controlGroups(cgroupRoot), s.Slice))
	if err != nil {
		return Started{}, fmt.Errorf("cannot start %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	c, err := containers.Inspect(v.with(ctx), id, nil)
	switch {
	case err != nil:
		err = fmt.Errorf("cannot inspect container %s: %w", s.Name, err)
	case !c.State.Running:
		err = fmt.Errorf("cannot start container %s: %s ended at once with status %d", s.Name, s.Argv[0], c.State.ExitCode)
	default:
		return Started{PID: c.State.Pid, MainPID: c.State.ConmonPid}, nil
	}
	return Started{}, errors.Join(err, p.discard(ctx, s.Name))
}

// launch creates and starts a container in the first placement that the OCI
// runtime can do; it leaves none behind if that fails.
func (p *Podman) launch(ctx context.Context, s Spec, at ...placement) (id string, err error) {
	_, env, err := podmanImage(ctx, s.Image)
	if err != nil {
		return "", err
	}
	host, err := surround(p.opts, s, env)
	if err != nil {
		return "", err
	}
	host.Mounts = append(host.Mounts, journalMount(journalSocket)...)
	created, err := containers.CreateWithSpec(ctx, podmanSpec(s, host, at[0]), nil)
	if err != nil && strings.Contains(err.Error(), noCgroups) && len(at) > 1 {
		return p.launch(ctx, s, at[1:]...)
	}
	if err != nil {
		return "", err
	}
	for _, warning := range created.Warnings {
		p.opts.Log.Warn("podman warns about a container", "container", s.Name, "warning", warning)
	}
	if err := containers.Start(ctx, created.ID, nil); err != nil {
		cleanup, cancel := outliving(ctx)
		defer cancel()
		return "", errors.Join(err, removePodman(cleanup, created.ID))
	}
	return created.ID, nil
}

// noCgroups is how podman refuses the mode disabled for an OCI runtime that is
// not crun (libpod, 4.3 to 5.8). Asking first costs 0.4 s for each job: podman
// info examines the whole storage.
const noCgroups = "not compatible with NoCgroups"

// Run implements Runtime. With the log driver passthrough the job writes to
// what its API service was given as stdout: a pipe of ours, complete when the
// last process that holds it is gone.
func (p *Podman) Run(ctx context.Context, s Spec, output io.Writer) (exit int, err error) {
	v, err := startPodmanService(ctx, p.opts.StateDir, output, output)
	if err != nil {
		return 0, err
	}
	// The container comes first: what it writes is copied until its end.
	defer v.stop()
	defer func() { err = errors.Join(err, p.discard(ctx, s.Name)) }()
	id, err := p.launch(v.with(ctx), s, jobPlacements(controlGroups(cgroupRoot), s.Slice)...)
	if err != nil {
		return 0, fmt.Errorf("cannot run %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	exit, err = waitPodman(v.with(ctx), id)
	if err != nil {
		return 0, fmt.Errorf("cannot finish %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	return exit, nil
}

// discard removes a container even when the caller's context has ended, or the
// service that has started it.
func (p *Podman) discard(ctx context.Context, name string) error {
	cleanup, cancel := outliving(ctx)
	defer cancel()
	return p.Remove(cleanup, name)
}

// Wait implements Runtime.
func (p *Podman) Wait(ctx context.Context, name string) (int, error) {
	v, err := p.service(ctx)
	if err != nil {
		return 0, err
	}
	exit, err := waitPodman(v.with(ctx), name)
	if err != nil {
		return 0, fmt.Errorf("cannot wait for container %s: %w", name, err)
	}
	return exit, nil
}

// waitPodman waits for a container's end; podman 4 looks for it at an interval.
func waitPodman(ctx context.Context, id string) (int, error) {
	exit, err := containers.Wait(ctx, id, new(containers.WaitOptions).WithInterval("20ms"))
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return int(exit), err
}

// Remove implements Runtime.
func (p *Podman) Remove(ctx context.Context, name string) (err error) {
	v, err := p.service(ctx)
	if err != nil {
		return err
	}
	defer func() { err = v.interrupted(err) }()
	c, err := containers.Inspect(v.with(ctx), name, nil)
	// podman also takes the beginning of an ID for a name, and "db" is one.
	if podmanMissing(err) || err == nil && c.Name != name {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot inspect container %s: %w", name, err)
	}
	if err := removePodman(v.with(ctx), c.ID); err != nil {
		return fmt.Errorf("cannot remove container %s: %w", name, err)
	}
	return nil
}

// removePodman kills and removes a container. After a SIGKILL of its unit the
// first attempt reports that conmon is gone, and repairs the record by doing so.
func removePodman(ctx context.Context, id string) error {
	options := new(containers.RemoveOptions).WithForce(true).WithIgnore(true).WithVolumes(true).WithTimeout(0)
	var failure error
	for range 3 {
		reports, err := containers.Remove(ctx, id, options)
		for _, r := range reports {
			err = errors.Join(err, r.Err)
		}
		exists, lookErr := containers.Exists(ctx, id, nil)
		if lookErr == nil && !exists {
			return nil
		}
		failure = errors.Join(err, lookErr)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(failure, context.Cause(ctx))
		}
	}
	return fmt.Errorf("it is still there after 3 attempts: %w", failure)
}

// Running implements Runtime.
func (p *Podman) Running(ctx context.Context) ([]string, error) {
	v, err := p.service(ctx)
	if err != nil {
		return nil, err
	}
	list, err := containers.List(v.with(ctx), nil) // without options: the running ones
	if err != nil {
		return nil, fmt.Errorf("cannot list podman's containers: %w", err)
	}
	var names []string
	for _, item := range list {
		c, err := containers.Inspect(v.with(ctx), item.ID, nil)
		if podmanMissing(err) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("cannot inspect podman's container %s: %w", item.ID, err)
		}
		var sources []string
		for _, m := range c.Mounts {
			sources = append(sources, m.Source)
		}
		if p.opts.concerns(item.Labels, sources) {
			names = append(names, c.Name)
		}
	}
	return names, nil
}

func (p *Podman) pull(ctx context.Context, name string) error {
	v, err := p.service(ctx)
	if err != nil {
		return err
	}
	_, err = images.Pull(v.with(ctx), name, new(images.PullOptions).WithQuiet(true))
	return err
}

// podmanMissing reports whether podman's answer was "no such object".
func podmanMissing(err error) bool {
	code, notAPI := bindings.CheckResponseCode(err)
	return err != nil && notAPI == nil && code == http.StatusNotFound
}

var _ Runtime = (*Podman)(nil)
