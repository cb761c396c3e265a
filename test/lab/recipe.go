package lab

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// recipe says what a root file system is made of. Its key names the cached result, so that any change of
// the recipe makes a new one.
type recipe struct {
	Version    int // raised by hand when the steps change (rootfs.go, image.go)
	Base       string
	PostgreSQL string
	Packages   []string
	Disabled   []string          // units that do not start at boot
	Masked     []string          // units that other units would start
	Enabled    []string          // units that do
	Files      map[string]string // configuration, path to text
}

// PostgreSQL returns the major version that a Debian release has, in the hosts' packages and in their image; "" is the
// lab's own choice of a release.
func PostgreSQL(base string) string {
	switch base {
	case "", "trixie":
		return "17"
	case "bookworm":
		return "15"
	}
	return ""
}

func recipeFor(base string) (recipe, error) {
	r := recipe{
		Version:    2,
		Base:       base,
		PostgreSQL: PostgreSQL(base),
		Packages:   commonPackages(),
		// corosync and pacemaker come back by themselves after a power-off; nothing else starts that
		// a test has not asked for or that takes processor time from it.
		Enabled: []string{"corosync.service", "pacemaker.service"},
		Disabled: []string{
			"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
			"fstrim.timer", "man-db.timer", "podman-auto-update.timer", "podman.socket",
			"containerd.service", "docker.service", "docker.socket", "getty@tty1.service", "logd.service",
			"netavark-dhcp-proxy.service", "netavark-dhcp-proxy.socket", "pcsd.service", "pcsd-ruby.service",
			"postgresql.service", "podman-restart.service", "podman-auto-update.service", "systemd-pstore.service",
		},
		// There are no modules to load, no business in the kernel's debugging, and caches are fresh.
		Masked: []string{
			"ldconfig.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
			"systemd-journal-catalog-update.service", "systemd-modules-load.service",
		},
		Files: configFiles(),
	}
	switch base {
	case "trixie":
		r.Packages = append(r.Packages, "docker-cli")
	case "bookworm":
		r.Packages = append(r.Packages, "runc")
		// This crun always raises a limit for its cgroup program, which takes a right that root on a
		// machine in a sandbox may lack; and this podman prefers a network plugin that is not installed.
		r.Files["/etc/containers/containers.conf"] += "runtime = \"runc\"\n\n[network]\nnetwork_backend = \"netavark\"\n"
	default:
		return recipe{}, fmt.Errorf("cannot build a root file system of %q: only trixie and bookworm are known", base)
	}
	r.Packages = append(r.Packages, "postgresql-"+r.PostgreSQL, "postgresql-client-"+r.PostgreSQL)
	slices.Sort(r.Packages)
	return r, nil
}

func (r recipe) key() string {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and maps of strings always marshal
	}
	return fmt.Sprintf("%s-%x", r.Base, sha256.Sum256(data))[:len(r.Base)+13]
}

func commonPackages() []string {
	return strings.Fields(`aardvark-dns btrfs-progs conmon corosync crmsh crun docker.io iproute2 iptables
		iputils-ping libxml2-utils netavark nftables pacemaker pacemaker-cli-utils pcs podman procps strace
		resource-agents rpm`)
}

// imageStore is where the root file system keeps the container images that every host has from birth.
const imageStore = shareDir + "/images"

func configFiles() map[string]string {
	return map[string]string{
		// The journal of a host that has lost its power is read from its disk.
		"/etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n",
		// Where cgroup v1 controllers exist beside v2, podman's default limit has no controller to set.
		"/etc/containers/containers.conf": "[containers]\npids_limit = 0\n\n" +
			"[engine]\ncgroup_manager = \"systemd\"\nevents_logger = \"file\"\n",
		"/etc/containers/storage.conf": "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\n" +
			"graphroot = \"/var/lib/containers/storage\"\n\n" +
			"[storage.options]\nadditionalimagestores = [\"" + imageStore + "\"]\n",
		"/etc/fstab":      "",
		"/etc/machine-id": "",
	}
}
