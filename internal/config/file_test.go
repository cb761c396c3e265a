package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"pgtwin/internal/ocf"
)

// written puts texts into files and gives their paths.
func written(t *testing.T, texts ...string) []string {
	t.Helper()
	var paths []string
	for i, text := range texts {
		path := filepath.Join(t.TempDir(), string(rune('a'+i))+".toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func TestMissingFilesAreTheDefaults(t *testing.T) {
	f, err := Load(filepath.Join(t.TempDir(), "absent.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.For("any"), Defaults()) {
		t.Errorf("got %+v, want %+v", f.For("any"), Defaults())
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := Load(t.TempDir()); err == nil || ocf.CodeOf(err) != ocf.ErrGeneric {
		t.Errorf("a directory in place of the file gave %v", err)
	}
}

func TestPrecedenceOfFilesAndTables(t *testing.T) {
	f, err := Load(written(t, `
		[defaults]
		sync_timeout = "1s"
		stop_timeout = "11s"
		shm_size = "64MB"
		[defaults.addresses]
		n1 = "10.0.0.1"
		[defaults.limits]
		MemoryMax = "1G"
		[instance.a]
		sync_timeout = "2s"
		[instance.a.addresses]
		n2 = "10.0.0.2"`, `
		[defaults]
		stop_timeout = "12s"
		sync_timeout = "3s"
		container_dirs = ["/archive", "/spaces"]
		[instance.a]
		shm_size = "1GiB"
		container_dirs = ["/own/"]
		[instance.a.limits]
		TasksMax = "500"`)...)
	if err != nil {
		t.Fatal(err)
	}
	a, other := f.For("a"), f.For("b")
	for _, c := range []struct {
		rule      string
		got, want any
	}{
		{"a later file overrides [defaults]", other.SyncTimeout, Duration(3 * time.Second)},
		{"an instance's table overrides later [defaults]", a.SyncTimeout, Duration(2 * time.Second)},
		{"an instance inherits the merged [defaults]", a.StopTimeout, Duration(12 * time.Second)},
		{"an instance's list replaces the one of [defaults]", a.ContainerDirs, []string{"/own/"}},
		{"and leaves that as it is", other.ContainerDirs, []string{"/archive", "/spaces"}},
		{"a later file adds to an instance's table", a.ShmSize, Size(1 << 30)},
		{"keys absent from the later file stay", other.ShmSize, Size(64 << 20)},
		{"limits are merged key by key", a.Limits, Limits{MemoryMax: "1G", TasksMax: "500"}},
		{"addresses are merged key by key", a.Addresses, map[string]string{"n1": "10.0.0.1", "n2": "10.0.0.2"}},
		{"an instance's addresses are its own", other.Addresses, map[string]string{"n1": "10.0.0.1"}},
		{"what no file sets has the default", a.SocketDir, "/run/postgresql"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.rule, c.got, c.want)
		}
	}
}

func TestMistakesNameFileLineAndKey(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "[defaults]\nshm_size = \n", "a.toml:2: defaults.shm_size: "},
		{"unknown key", "[defaults]\n\nsync_timeuot = \"1s\"", "a.toml:3: defaults.sync_timeuot: not a setting of pgtwin; did you mean sync_timeout?"},
		{"unknown key of an instance", "[instance.x]\nshm-size = 1", "a.toml:2: instance.x.shm-size: not a setting of pgtwin; did you mean shm_size?"},
		{"unknown key after one of the same name", "[defaults]\nlog_level=\"info\"\n[instance.x]\n[instance.y]\n# log_levl\nlog_levl = 1", "a.toml:6: instance.y.log_levl: "},
		{"unknown quoted dotted key", "defaults.\"sync timeout\" = 1", "a.toml:1: defaults.sync timeout: "},
		{"unknown key in an inline table", "[defaults]\nlimits = { MemoryMin = \"1G\" }", "a.toml:2: defaults.limits.MemoryMin: not a setting of pgtwin; did you mean MemoryMax?"},
		{"text that looks like a key", "[defaults]\nhttp_listen = '''\nwrong = 1\n'''\nwrong = 2", "a.toml:5: defaults.wrong: not a setting of pgtwin"},
		{"unknown table", "[default]\nshm_size=\"1G\"", "a.toml:1: default: not a setting of pgtwin; did you mean defaults?"},
		{"key outside any table", "shm_size=\"1G\"", "a.toml:1: shm_size: not a setting of pgtwin"},
		{"name of an instance", "\n[instance.\"a/b\"]\n", "a.toml:2: instance.a/b: \"a/b\" has a character"},
		{"type", "[defaults]\nsocket_dir = 5", "line 2 (last key \"defaults.socket_dir\")"},
		{"table expected", "defaults = 5", "line 1"},
		{"duration without unit", "[defaults]\nsync_timeout = 10", "a.toml:2: defaults.sync_timeout: \"10\" is not a duration"},
		{"duration out of range", "[defaults]\nsync_timeout = \"1ms\"", "a.toml:2: defaults.sync_timeout: 1ms is not between 1s and 1h0m0s"},
		{"size without unit", "[defaults]\nshm_size = 10", "a.toml:2: defaults.shm_size: \"10\" is not a size"},
		{"relative path", "[defaults]\nsocket_dir = \"tmp\"", "a.toml:2: defaults.socket_dir: \"tmp\" is not an absolute path"},
		{"path too long for a socket", "[defaults]\nsocket_dir = \"/" + strings.Repeat("x", 100) + "\"", "too long for the address of a Unix socket"},
		{"port", "[defaults]\nhttp_listen = \"8008\"", "\"8008\" is not an IP address with a port"},
		{"port too high", "[defaults]\nhttp_listen = \":70000\"", "\":70000\" is not an IP address with a port"},
		{"name to listen on", "[defaults]\nhttp_listen = \"localhost:8008\"", "\"localhost:8008\" is not an IP address with a port"},
		{"key in another case", "[defaults.limits]\nmemorymax = \"x\"", "a.toml:2: defaults.limits.memorymax: not a setting of pgtwin; did you mean MemoryMax?"},
		{"table in another case", "[Defaults]\nshm_size = \"1G\"", "a.toml:1: Defaults: not a setting of pgtwin; did you mean defaults?"},
		{"table below addresses", "[defaults.addresses]\n[defaults.addresses.n1]\nip = \"x\"", "n1"},
		{"runtime", "[defaults]\ncontainer_runtime = \"lxc\"", "\"lxc\" is not one of auto, podman, docker"},
		{"log level", "[defaults]\nlog_level = \"loud\"", "a.toml:2: defaults.log_level: "},
		{"rate", "[defaults]\nbasebackup_max_rate = \"2GB\"", "a.toml:2: defaults.basebackup_max_rate: 2147483648 bytes per second are not between 32kB and 1GB"},
		{"copies to keep", "[defaults]\nkeep_replaced = -1", "a.toml:2: defaults.keep_replaced: -1 is negative"},
		{"directory", "[defaults]\ncontainer_dirs = [\"/a\", \"b\"]", "a.toml:2: defaults.container_dirs: \"b\" is not an absolute path"},
		{"directory of every container", "[defaults]\ncontainer_dirs = [\"/dev/shm\"]", "a.toml:2: defaults.container_dirs: /dev/shm is a directory of the container's own"},
		{"address", "[defaults.addresses]\nn1 = \"10.0.0.1 \"", "a.toml:2: defaults.addresses.n1: "},
		{"address that is empty", "[defaults.addresses]\nn1 = \"\"", "a.toml:2: defaults.addresses.n1: "},
		{"limit", "[instance.x]\n[instance.x.limits]\nCPUWeight = \"0\"", "a.toml:3: instance.x.limits.CPUWeight: \"0\" is not a weight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(written(t, c.text)...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			if ocf.CodeOf(err) != ocf.ErrConfigured {
				t.Errorf("the code is %v", ocf.CodeOf(err))
			}
		})
	}
}

func TestAllMistakesAreReportedOnceEach(t *testing.T) {
	_, err := Load(written(t, "[defaults]\nsocket_dir=\"x\"\nbad=1\n[defaults.worse]\ny=1\nz=2\n[instance.i]\n[instance.j]\nshm_size=\"1B\"\n")...)
	if err == nil {
		t.Fatal("no error")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 4 {
		t.Errorf("want four mistakes, got:\n%v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "7B": 7, "1kB": 1 << 10, "1K": 1 << 10, "256MB": 256 << 20, "1GiB": 1 << 30, "2 TB": 2 << 40,
		"": -1, "1": -1, "MB": -1, "-1MB": -1, "1.5GB": -1, "1XB": -1, "9999999TB": -1, "1MBB": -1, "99999999999999999999B": -1,
	} {
		got := Size(-1)
		if err := got.UnmarshalText([]byte(text)); got != want || (err != nil) != (want < 0) {
			t.Errorf("%q gave %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestLimitsAreWhatSystemdAccepts(t *testing.T) {
	set := map[string]func(string) Limits{
		"MemoryMax":     func(s string) Limits { return Limits{MemoryMax: s} },
		"MemoryHigh":    func(s string) Limits { return Limits{MemoryHigh: s} },
		"MemorySwapMax": func(s string) Limits { return Limits{MemorySwapMax: s} },
		"CPUQuota":      func(s string) Limits { return Limits{CPUQuota: s} },
		"CPUWeight":     func(s string) Limits { return Limits{CPUWeight: s} },
		"IOWeight":      func(s string) Limits { return Limits{IOWeight: s} },
		"TasksMax":      func(s string) Limits { return Limits{TasksMax: s} },
	}
	for _, c := range []struct{ key, good, bad string }{
		{"MemoryMax", "8G 1024 80% infinity", "0 8GB G 101% -1 8g 1.5G"},
		{"MemoryHigh", "512M 50%", "much 8G\nExecStart=/bin/sh"},
		{"MemorySwapMax", "0 1G infinity", "none"},
		{"CPUQuota", "20% 250%", "2 0% % infinity"},
		{"CPUWeight", "1 10000 idle", "0 10001 50%"},
		{"IOWeight", "100", "idle 0"},
		{"TasksMax", "500 10% infinity", "0 -5 all"},
	} {
		for _, value := range strings.Split(c.good, " ") {
			if p := set[c.key](value).problems(); len(p) != 0 {
				t.Errorf("%s=%q is refused: %v", c.key, value, p[0].err)
			}
		}
		for _, value := range strings.Split(c.bad, " ") {
			if p := set[c.key](value).problems(); len(p) != 1 || p[0].key[0] != c.key {
				t.Errorf("%s=%q is accepted: %v", c.key, value, p)
			}
		}
	}
}

const shipped = "../../etc/pgtwin.toml"

func TestShippedFileSetsNothing(t *testing.T) {
	f, err := Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Defaults, Defaults()) || len(f.Instances) != 0 {
		t.Errorf("got %+v", f)
	}
}

func TestShippedFileShowsEveryKeyWithItsDefault(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^#([^ #\n])`).ReplaceAllString(string(text), "$1")
	f, err := Load(written(t, uncommented)...)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Defaults, Defaults()) {
		t.Errorf("the file says\n%+v\nthe code\n%+v", f.Defaults, Defaults())
	}
	var tables map[string]any
	meta, err := toml.Decode(uncommented, &tables)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(Settings{}) {
		if !meta.IsDefined("defaults", key) {
			t.Errorf("%s is missing", key)
		}
	}
	for _, key := range keysOf(Limits{}) {
		if !meta.IsDefined("defaults", "limits", key) {
			t.Errorf("limits.%s is missing", key)
		}
	}
	example := f.For("postgres-ha")
	if example.HTTPListen == "" || example.LogLevel != slog.LevelInfo || len(f.Instances) != 1 {
		t.Errorf("the example is %+v", example)
	}
}
