package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containers/podman/v5/libpod/define"
	"github.com/containers/podman/v5/pkg/specgen"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/image/v5/manifest"
)

// placement says where a podman container lives in the tree of control groups.
type placement struct {
	Mode   string // podman-run(1) --cgroups
	Parent string
	// Pids lifts podman's default limit of 2048 processes (containers.conf(5),
	// pids_limit), which would limit connections: the administrator's limit is
	// the slice's TasksMax=.
	Pids bool
}

// hierarchy is what the kernel offers: cgroup v2, and its pids controller.
type hierarchy struct{ Unified, Pids bool }

// databasePlacement is split: conmon and payload get groups of their own below
// the unit's, so that systemctl shows the server's processes and the slice's
// limits hold. It needs the unified hierarchy (podman-run(1)); with the old one
// a scope in the instance's slice at least keeps the limits.
func databasePlacement(h hierarchy, slice string) placement {
	if h.Unified {
		return placement{Mode: "split", Pids: h.Pids}
	}
	return placement{Mode: "enabled", Parent: slice, Pids: h.Pids}
}

// jobPlacements are tried in order. Disabled: the job stays in the group it is
// started from, so nothing nests however many jobs precede the database. Of the
// OCI runtimes only crun can do that (runtime_supports_nocgroups,
// containers.conf(5)); with another a job is placed like the database.
func jobPlacements(h hierarchy, slice string) []placement {
	return []placement{{Mode: "disabled"}, databasePlacement(h, slice)}
}

// podmanSpec translates a Spec into podman's terms.
func podmanSpec(s Spec, host surroundings, at placement) *specgen.SpecGenerator {
	yes, no := true, false
	fast := syscall.SIGINT // PostgreSQL's fast shutdown, for an administrator's podman stop
	g := specgen.NewSpecGenerator(s.Image, false)

	g.Name = s.Name
	g.Labels = map[string]string{label: host.Instance}
	// The image's entrypoint is never run: it may chown or initdb the data
	// directory. An entrypoint of our own also drops the image's command.
	g.Entrypoint, g.Command = s.Argv[:1], s.Argv[1:]
	g.Env = environment(s, host)
	g.EnvHost, g.HTTPProxy = &no, &no
	g.StopSignal = &fast
	g.LogConfiguration = &specgen.LogConfig{Driver: define.PassthroughLogging}
	g.RestartPolicy = define.RestartPolicyNo // Pacemaker's decision
	g.SdNotifyMode = define.SdNotifyModeIgnore
	g.Systemd = "false"
	g.Remove = &no // the exit status is read first
	g.Passwd = &no // accountFiles
	g.ImageVolumeMode = "ignore"
	g.Mounts = podmanMounts(append(host.Mounts, s.Mounts...))
	g.WorkDir = directory(s)
	if s.ShmSize > 0 {
		g.ShmSize = &s.ShmSize
	}

	g.User, g.Groups = numericUser(s), numericGroups(s)
	g.UserNS = specgen.Namespace{NSMode: specgen.Host} // the owner's id is the host's
	g.IpcNS = specgen.Namespace{NSMode: specgen.Private}
	g.NetNS = specgen.Namespace{NSMode: specgen.Host}
	g.CapDrop = []string{"ALL"}
	g.NoNewPrivileges = &yes
	// Without the tmpfs /dev/shm would be read-only as well.
	g.ReadOnlyFilesystem, g.ReadWriteTmpfs = &yes, &yes

	g.CgroupsMode, g.CgroupParent = at.Mode, at.Parent
	g.Rlimits = podmanLimits(host.Limits)
	if at.Pids {
		g.ResourceLimits = &rspec.LinuxResources{Pids: &rspec.LinuxPids{Limit: unlimited}}
	}
	g.HealthConfig = &manifest.Schema2HealthConfig{Test: []string{"NONE"}}
	return g
}

// unlimited processes, as podman-run(1) --pids-limit has it.
const unlimited = -1

// podmanMounts leaves SELinux labels alone (no z or Z): relabelling walks the
// whole data directory on every start and takes it away from the host's own
// programs. The administrator labels it once, container_file_t.
func podmanMounts(mounts []Mount) []rspec.Mount {
	list := make([]rspec.Mount, 0, len(mounts))
	for _, m := range mounts {
		access := "rw"
		if m.ReadOnly {
			access = "ro"
		}
		list = append(list, rspec.Mount{
			Type: "bind", Source: m.Source, Destination: m.Target,
			Options: []string{"rbind", "rprivate", access},
		})
	}
	return list
}

// podmanLimits names limits as podman-run(1) --ulimit does; podman adds RLIMIT_.
func podmanLimits(limits []limit) []rspec.POSIXRlimit {
	list := make([]rspec.POSIXRlimit, 0, len(limits))
	for _, l := range limits {
		list = append(list, rspec.POSIXRlimit{Type: l.Name, Soft: l.Soft, Hard: l.Hard})
	}
	return list
}

// environment is the container's, PATH first so that the Spec can override it.
func environment(s Spec, host surroundings) map[string]string {
	env := map[string]string{"PATH": host.Path}
	for _, entry := range s.Env {
		key, value, _ := strings.Cut(entry, "=")
		env[key] = value
	}
	return env
}

// controlGroups looks which hierarchy is mounted; only the unified one lists
// its controllers (cgroups(7)). The old one is taken to have all of them.
func controlGroups(root string) hierarchy {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return hierarchy{Pids: true}
	}
	return hierarchy{Unified: true, Pids: slices.Contains(strings.Fields(string(controllers)), "pids")}
}

// cgroupRoot is where systemd mounts control groups.
const cgroupRoot = "/sys/fs/cgroup"
