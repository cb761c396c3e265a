package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/docker/docker/pkg/stdcopy"
	"go.podman.io/image/v5/pkg/docker/config"
)

// Docker runs the programs in docker containers. They are children of dockerd,
// in a scope of their own below the instance's slice.
type Docker struct {
	opts  Options
	api   *client.Client
	relay *logRelay // of the database that Start started, nil before
}

// dockerAnswer bounds the first question to dockerd, which its socket may have
// to start first.
const dockerAnswer = 15 * time.Second

func openDocker(ctx context.Context, opts Options) (*Docker, error) {
	if !dockerInstalled() {
		return nil, fmt.Errorf("cannot run containers: docker is %w, install the docker engine", ErrNotInstalled)
	}
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("cannot set up docker's client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dockerAnswer)
	defer cancel()
	if _, err := api.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach dockerd, look at docker.service: %w", err), api.Close())
	}
	return &Docker{opts: opts, api: api}, nil
}

// dockerInstalled looks for the daemon; the client program alone can do nothing.
func dockerInstalled() bool {
	if os.Getenv(client.EnvOverrideHost) != "" {
		return true
	}
	if _, err := os.Stat(strings.TrimPrefix(client.DefaultDockerHost, "unix://")); err == nil {
		return true
	}
	_, err := exec.LookPath("dockerd")
	return err == nil
}

// Name implements Runtime.
func (d *Docker) Name() string { return "docker" }

// Close implements Runtime.
func (d *Docker) Close() error {
	if d.relay != nil {
		d.relay.close()
	}
	return d.api.Close()
}

// Image implements Runtime.
func (d *Docker) Image(ctx context.Context, name string) (Image, error) {
	image, _, err := d.inspectImage(ctx, name)
	return image, err
}

// inspectImage inspects an image; env is the image's environment.
func (d *Docker) inspectImage(ctx context.Context, name string) (image Image, env []string, err error) {
	found, err := d.api.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return Image{}, nil, fmt.Errorf("cannot use image %s: %w", name, ErrImageMissing)
	}
	if err != nil {
		return Image{}, nil, fmt.Errorf("cannot inspect image %s: %w", name, err)
	}
	image = Image{ID: found.ID, Digest: digestOf(found.RepoDigests, name), Name: name}
	if found.Config != nil {
		env = found.Config.Env
		image.Major = majorOf(env, found.Config.Labels)
	}
	return image, env, nil
}

// Start implements Runtime. No process of the container is in our unit, so
// MainPID is 0, and its log is passed on until Close.
func (d *Docker) Start(ctx context.Context, s Spec) (Started, error) {
	relay, err := startLogRelay(d.opts.StateDir, s.Unit, journalNative, d.opts.Log)
	if err != nil {
		return Started{}, err
	}
	d.relay = relay
	s.Mounts = append(slices.Clone(s.Mounts), relay.mount())
	id, err := d.create(ctx, s, dockerJournal(s))
	if err != nil {
		return Started{}, fmt.Errorf("cannot create container %s: %w", s.Name, err)
	}
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return Started{}, errors.Join(fmt.Errorf("cannot start %s in container %s: %w", s.Argv[0], s.Name, err), d.discard(ctx, id))
	}
	c, err := d.api.ContainerInspect(ctx, id)
	switch {
	case err != nil:
		err = fmt.Errorf("cannot inspect container %s: %w", s.Name, err)
	case !c.State.Running:
		err = fmt.Errorf("cannot start container %s: %s ended at once with status %d", s.Name, s.Argv[0], c.State.ExitCode)
	default:
		return Started{PID: c.State.Pid}, nil
	}
	return Started{}, errors.Join(err, d.discard(ctx, id))
}

func (d *Docker) create(ctx context.Context, s Spec, log container.LogConfig) (id string, err error) {
	_, env, err := d.inspectImage(ctx, s.Image)
	if err != nil {
		return "", err
	}
	host, err := surround(d.opts, s, env)
	if err != nil {
		return "", err
	}
	created, err := d.api.ContainerCreate(ctx, dockerConfig(s, host), dockerHostConfig(s, host, log), nil, nil, s.Name)
	for _, warning := range created.Warnings {
		d.opts.Log.Warn("docker warns about a container", "container", s.Name, "warning", warning)
	}
	return created.ID, err
}

// Run implements Runtime. The output is attached to before the start, so that
// nothing of it is missed; docker keeps no copy.
func (d *Docker) Run(ctx context.Context, s Spec, output io.Writer) (exit int, err error) {
	id, err := d.create(ctx, s, container.LogConfig{Type: "none"})
	if err != nil {
		return 0, fmt.Errorf("cannot create container %s for %s: %w", s.Name, s.Argv[0], err)
	}
	defer func() { err = errors.Join(err, d.discard(ctx, id)) }()
	stream, err := d.api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, fmt.Errorf("cannot attach to container %s: %w", s.Name, err)
	}
	defer stream.Close()
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return 0, fmt.Errorf("cannot run %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	// The stream ends with the job; a hijacked connection does not heed ctx.
	unblock := context.AfterFunc(ctx, stream.Close)
	defer unblock()
	if _, err := stdcopy.StdCopy(output, output, stream.Reader); err != nil && ctx.Err() == nil {
		return 0, fmt.Errorf("cannot read the output of %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	exit, err = d.wait(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("cannot finish %s in container %s: %w", s.Argv[0], s.Name, err)
	}
	return exit, nil
}

// discard removes a container even when the caller's context has ended.
func (d *Docker) discard(ctx context.Context, id string) error {
	cleanup, cancel := outliving(ctx)
	defer cancel()
	return d.remove(cleanup, id)
}

// Wait implements Runtime.
func (d *Docker) Wait(ctx context.Context, name string) (int, error) {
	exit, err := d.wait(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("cannot wait for container %s: %w", name, err)
	}
	return exit, nil
}

func (d *Docker) wait(ctx context.Context, id string) (int, error) {
	ended, failed := d.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		if end.Error != nil {
			return 0, errors.New(end.Error.Message)
		}
		return int(end.StatusCode), nil
	case err := <-failed:
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, err
	}
}

// Remove implements Runtime.
func (d *Docker) Remove(ctx context.Context, name string) error {
	c, err := d.api.ContainerInspect(ctx, name)
	// docker also takes the beginning of an ID for a name, and "db" is one.
	if errdefs.IsNotFound(err) || err == nil && c.Name != "/"+name {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot inspect container %s: %w", name, err)
	}
	if err := d.remove(ctx, c.ID); err != nil {
		return fmt.Errorf("cannot remove container %s: %w", name, err)
	}
	return nil
}

// remove kills and removes a container, with the anonymous volumes that docker
// makes for what the image declares and we do not mount.
func (d *Docker) remove(ctx context.Context, id string) error {
	err := d.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Running implements Runtime.
func (d *Docker) Running(ctx context.Context) ([]string, error) {
	list, err := d.api.ContainerList(ctx, container.ListOptions{}) // without options: the running ones
	if err != nil {
		return nil, fmt.Errorf("cannot list docker's containers: %w", err)
	}
	var names []string
	for _, c := range list {
		var sources []string
		for _, m := range c.Mounts {
			sources = append(sources, m.Source)
		}
		if len(c.Names) > 0 && d.opts.concerns(c.Labels, sources) {
			names = append(names, strings.TrimPrefix(c.Names[0], "/"))
		}
	}
	return names, nil
}

// pull also looks for credentials where podman keeps them, see
// containers-auth.json(5): docker's daemon has none of its own.
func (d *Docker) pull(ctx context.Context, name string) error {
	auth, err := dockerCredentials(name)
	if err != nil {
		return err
	}
	progress, err := d.api.ImagePull(ctx, name, dockerimage.PullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	defer progress.Close()
	// The pull goes on while its progress is read, and fails in there.
	for decoder := json.NewDecoder(progress); ; {
		var m jsonmessage.JSONMessage
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if m.Error != nil {
			return m.Error
		}
	}
}

// dockerCredentials returns the credentials for an image's registry, encoded
// for the API; "" if there are none.
func dockerCredentials(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	found, err := config.GetCredentials(nil, named.Name())
	if err != nil || found.Username == "" && found.IdentityToken == "" {
		return "", err
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken,
		ServerAddress: reference.Domain(named),
	})
}

var _ Runtime = (*Docker)(nil)
