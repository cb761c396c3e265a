package runtime

import (
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"
)

// dockerJournal writes what a container prints to the journal; the field makes
// "journalctl -u UNIT" show it although dockerd is the sender, see journalctl(1)
// --unit and systemd.journal-fields(7), OBJECT_SYSTEMD_UNIT=.
func dockerJournal(s Spec) container.LogConfig {
	return container.LogConfig{Type: "journald", Config: map[string]string{"labels": unitField, "tag": s.Name}}
}

// unitField is the journal's field and the label of the same name.
const unitField = "OBJECT_SYSTEMD_UNIT"

// dockerConfig translates a Spec into docker's terms: what the program sees.
func dockerConfig(s Spec, host surroundings) *container.Config {
	env := append([]string{"PATH=" + host.Path}, s.Env...)
	return &container.Config{
		Image: s.Image,
		User:  numericUser(s),
		// See podmanSpec: never the image's entrypoint and command.
		Entrypoint:   s.Argv[:1],
		Cmd:          s.Argv[1:],
		Env:          env,
		WorkingDir:   directory(s),
		Labels:       map[string]string{label: host.Instance, unitField: s.Unit},
		StopSignal:   "SIGINT", // PostgreSQL's fast shutdown, for an administrator's docker stop
		Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}},
		AttachStdout: true,
		AttachStderr: true,
	}
}

// dockerHostConfig translates a Spec into docker's terms: what the host gives.
func dockerHostConfig(s Spec, host surroundings, log container.LogConfig) *container.HostConfig {
	init := false
	return &container.HostConfig{
		LogConfig:     log,
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}, // Pacemaker's decision
		NetworkMode:   "host",
		IpcMode:       container.IPCModePrivate,
		UsernsMode:    "host", // the owner's id is the host's
		CgroupnsMode:  container.CgroupnsModePrivate,
		GroupAdd:      numericGroups(s),
		Init:          &init,

		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		ReadonlyRootfs: true,
		Tmpfs:          map[string]string{"/tmp": "mode=1777", "/var/tmp": "mode=1777", "/run": "mode=0755"},
		Mounts:         dockerMounts(append(host.Mounts, s.Mounts...)),
		ShmSize:        s.ShmSize,

		OomScoreAdj: host.OOMScoreAdj, // dockerd, not we, is the parent
		Resources: container.Resources{
			CgroupParent: s.Slice, // the container's scope lands in it
			Ulimits:      dockerLimits(host.Limits),
		},
	}
}

// dockerMounts leaves SELinux labels alone, see podmanMounts. Unlike a bind of
// the old kind a Mount fails when its source is missing instead of creating it.
func dockerMounts(mounts []Mount) []mount.Mount {
	list := make([]mount.Mount, 0, len(mounts))
	for _, m := range mounts {
		list = append(list, mount.Mount{
			Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
		})
	}
	return list
}

// dockerLimits: docker has -1 for "unlimited", which is what RLIM_INFINITY
// becomes as a signed number.
func dockerLimits(limits []limit) []*units.Ulimit {
	list := make([]*units.Ulimit, 0, len(limits))
	for _, l := range limits {
		list = append(list, &units.Ulimit{Name: l.Name, Soft: int64(l.Soft), Hard: int64(l.Hard)})
	}
	return list
}
