package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/ocf"
)

// Settings are what one table of pgtwin.toml can set, complete with defaults.
// The first group are defaults for OCF parameters, which a resource overrides.
type Settings struct {
	ContainerRuntime string `toml:"container_runtime"`
	ContainerImage   string `toml:"container_image"`
	PassFile         string `toml:"pgpassfile"`
	BinDir           string `toml:"pg_bindir"`

	SyncTimeout       Duration          `toml:"sync_timeout"`
	StopTimeout       Duration          `toml:"stop_timeout"`
	BasebackupMaxRate Size              `toml:"basebackup_max_rate"`
	KeepReplaced      int               `toml:"keep_replaced"`
	AcceptCollation   bool              `toml:"accept_collation_change"`
	ContainerDirs     []string          `toml:"container_dirs"`
	ShmSize           Size              `toml:"shm_size"`
	WALKeepSize       Size              `toml:"wal_keep_size"`
	LostKeep          Size              `toml:"lost_wal_keep_size"`
	SocketDir         string            `toml:"socket_dir"`
	HTTPListen        string            `toml:"http_listen"`
	LogLevel          slog.Level        `toml:"log_level"`
	Addresses         map[string]string `toml:"addresses"`
	Limits            Limits            `toml:"limits"`
}

// Defaults are the settings of a host without a pgtwin.toml.
func Defaults() Settings {
	return Settings{
		ContainerRuntime: ocf.Default("container_runtime"),
		ContainerImage:   ocf.Default("container_image"),
		PassFile:         ocf.Default("pgpassfile"),
		BinDir:           ocf.Default("pg_bindir"),
		SyncTimeout:      Duration(10 * time.Second),
		StopTimeout:      Duration(60 * time.Second),
		KeepReplaced:     1,
		ContainerDirs:    []string{},
		ShmSize:          1 << 30,
		WALKeepSize:      1 << 30,
		LostKeep:         1 << 30,
		SocketDir:        "/run/postgresql",
		LogLevel:         slog.LevelInfo,
		Addresses:        map[string]string{},
	}
}

// problem is a value that is wrong, and the key that has it.
type problem struct {
	key []string // below the table, for example limits, MemoryMax
	err error
}

// problems are the settings whose values are of the right type and cannot be
// right all the same.
func (s Settings) problems() []problem {
	var found []problem
	check := func(err error, key ...string) {
		if err != nil {
			found = append(found, problem{key, err})
		}
	}
	check(ocf.Check("container_runtime", s.ContainerRuntime), "container_runtime")
	check(ocf.Check("container_image", s.ContainerImage), "container_image")
	check(ocf.Check("pgpassfile", s.PassFile), "pgpassfile")
	check(ocf.Check("pg_bindir", s.BinDir), "pg_bindir")
	check(between(s.SyncTimeout, time.Second, time.Hour), "sync_timeout")
	check(between(s.StopTimeout, time.Second, time.Hour), "stop_timeout")
	check(checkRate(s.BasebackupMaxRate), "basebackup_max_rate")
	check(checkKeep(s.KeepReplaced), "keep_replaced")
	check(checkDirectories(s.ContainerDirs), "container_dirs")
	check(atLeast(s.ShmSize, 1<<20), "shm_size")
	check(checkSocketDir(s.SocketDir), "socket_dir")
	check(checkListen(s.HTTPListen), "http_listen")
	for _, node := range slices.Sorted(maps.Keys(s.Addresses)) {
		check(checkPeer(node, s.Addresses[node]), "addresses", node)
	}
	for _, limit := range s.Limits.problems() {
		check(limit.err, append([]string{"limits"}, limit.key...)...)
	}
	return found
}

func between(d Duration, low, high time.Duration) error {
	if time.Duration(d) < low || time.Duration(d) > high {
		return fmt.Errorf("%s is not between %s and %s", time.Duration(d), low, high)
	}
	return nil
}

func atLeast(s Size, low Size) error {
	if s < low {
		return fmt.Errorf("%d bytes are less than %d", s, low)
	}
	return nil
}

// checkRate wants what pg_basebackup --max-rate takes.
func checkRate(rate Size) error {
	if rate != 0 && (rate < 32<<10 || rate > 1<<30) {
		return fmt.Errorf("%d bytes per second are not between 32kB and 1GB; 0MB is no limit", rate)
	}
	return nil
}

func checkKeep(keep int) error {
	if keep < 0 {
		return fmt.Errorf("%d is negative", keep)
	}
	return nil
}

// checkDirectories wants directories that can be mounted into a container: not
// what every container has of its own.
func checkDirectories(dirs []string) error {
	for _, dir := range dirs {
		if _, err := ocf.Path(dir); err != nil {
			return err
		}
		clean := path.Clean(dir)
		for _, own := range []string{"/proc", "/sys", "/dev"} {
			if clean == "/" || clean == own || strings.HasPrefix(clean, own+"/") {
				return fmt.Errorf("%s is a directory of the container's own", dir)
			}
		}
	}
	return nil
}

// checkSocketDir leaves room for "/.s.PGSQL.65535" in the 107 bytes that a Unix
// socket's address can have (unix(7)).
func checkSocketDir(dir string) error {
	if len(dir) > 107-len("/.s.PGSQL.65535") {
		return fmt.Errorf("%q is too long for the address of a Unix socket", dir)
	}
	_, err := ocf.Path(dir)
	return err
}

// checkListen wants a numeric address: systemd opens the socket, and resolves no
// names (systemd.socket(5), ListenStream=).
func checkListen(address string) error {
	if address == "" {
		return nil
	}
	numeric := address
	if strings.HasPrefix(address, ":") {
		numeric = "[::]" + address
	}
	if parsed, err := netip.ParseAddrPort(numeric); err != nil || parsed.Port() == 0 || parsed.Addr().Zone() != "" {
		return fmt.Errorf("%q is not an IP address with a port such as 10.0.0.1:8008, or :8008 for all addresses", address)
	}
	return nil
}

func checkPeer(node, address string) error {
	_, wrongNode := ocf.Word(node)
	_, wrongAddress := ocf.Address(address)
	return errors.Join(wrongNode, wrongAddress)
}
