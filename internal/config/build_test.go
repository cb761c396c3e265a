package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ocf"
)

func params(t *testing.T, given map[string]string) ocf.Params {
	t.Helper()
	p, err := ocf.ParseParams(given)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func file(t *testing.T, text string) File {
	t.Helper()
	f, err := Load(written(t, text)...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestInstanceOfNothingButDefaults(t *testing.T) {
	got, err := Build(params(t, nil), file(t, ""), "n1", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	want := Instance{
		Name: "postgres-ha", Resource: "postgres", Node: "n1",
		PGData: "/var/lib/pgsql/data", Port: 5432, User: "postgres", ApplicationName: "n1", RepMode: "sync",
		BinDir: "/usr/bin", SocketDir: "/run/postgresql", Runtime: "auto",
		Image:                  "registry.opensuse.org/devel/bci/tumbleweed/containerfile/opensuse/postgres:17.6-158.5",
		BackupBeforeBasebackup: true, KeepReplaced: 1, BasebackupTimeout: time.Hour, SlotName: "ha_slot", MaxSlotWALKeepSize: 1024,
		ReplicationFailureThreshold: 5, MaxPromotionLagBytes: 10 << 20,
		SyncTimeout: 10 * time.Second, StopTimeout: time.Minute, ShmSize: 1 << 30, WALKeepSize: 1 << 30, LostKeep: 1 << 30,
		Addresses: map[string]string{},
	}
	if got.Nodes = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestAParameterOfTheResourceOverridesTheFile(t *testing.T) {
	f := file(t, `
		[defaults]
		container_image = "img:default"
		pg_bindir = "/opt/default/"
		container_runtime = "docker"
		[instance.db]
		container_image = "img:instance"
		pgpassfile = "/etc/pass"`)
	i, err := Build(params(t, map[string]string{"container_name": "db", "container_runtime": "podman"}), f, "n1", "pg")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ rule, got, want string }{
		{"OCF over [defaults]", i.Runtime, "podman"},
		{"[instance.NAME] over [defaults]", i.Image, "img:instance"},
		{"[instance.NAME] over the code", i.PassFile, "/etc/pass"},
		{"[defaults] over the code", i.BinDir, "/opt/default"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, c.got, c.want)
		}
	}
	// A resource that states the default means it.
	i, err = Build(params(t, map[string]string{"container_name": "db", "container_runtime": "auto"}), f, "n1", "pg")
	if err != nil || i.Runtime != "auto" {
		t.Errorf("an explicit auto became %s, %v", i.Runtime, err)
	}
}

func TestMistakesThatOnlyTheWholeShows(t *testing.T) {
	for _, c := range []struct {
		name  string
		given map[string]string
		file  string
		want  string
	}{
		{"image without a name", map[string]string{"container_mode": "true", "container_image": "auto"}, "",
			"container_image: name the image, as registry/name:tag: two nodes that each chose one could choose differently"},
		{"this node is not listed", map[string]string{"node_list": "n11 n2"}, "",
			"node_list: this node, n1, is not in it; did you mean n11?"},
		{"address of a node that is not listed", map[string]string{"node_list": "n1 node2"},
			"[defaults.addresses]\nnode3 = \"10.0.0.1\"", "addresses: node3 is not in node_list; did you mean node2?"},
		{"names that replication cannot tell apart", map[string]string{"node_list": "n1 N1"}, "",
			"node_list: N1 and n1 have the same name in replication, n1"},
		{"slots that coincide", map[string]string{"node_list": "n1 x-1 x.1"}, "",
			"node_list: x-1 and x.1 have the same replication slot, ha_slot_x_1"},
		{"name too long for PostgreSQL", map[string]string{"application_name": strings.Repeat("a", 61)}, "",
			"is longer than 63 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Build(params(t, c.given), file(t, c.file), "n1", "pg")
			if err == nil || !strings.Contains(err.Error(), c.want) || ocf.CodeOf(err) != ocf.ErrConfigured {
				t.Errorf("got %v (%v), want %q", err, ocf.CodeOf(err), c.want)
			}
		})
	}
}

func TestWithoutANodeNothingAboutItIsChecked(t *testing.T) {
	i, err := Build(params(t, map[string]string{"node_list": "n1 n2"}), file(t, ""), "", "pg")
	if err != nil || i.ApplicationName != "" {
		t.Errorf("got %q, %v", i.ApplicationName, err)
	}
}

func TestNamesOfNodesInReplication(t *testing.T) {
	for _, c := range []struct{ base, slot, node, application, wantSlot string }{
		{"", "ha_slot", "n1", "n1", "ha_slot_n1"},
		{"", "ha_slot", "DB-1.example.com", "DB-1.example.com", "ha_slot_db_1_example_com"},
		{"app", "s", "db-1.example.com", "app_db_1_example_com", "s_db_1_example_com"},
		{"", "s", strings.Repeat("n", 63), strings.Repeat("n", 63), "s_" + strings.Repeat("n", 52) + "_8213b529"},
	} {
		i := Instance{ApplicationBase: c.base, SlotName: c.slot}
		if got := ApplicationNameOf(i, c.node); got != c.application {
			t.Errorf("application name of %s: got %s, want %s", c.node, got, c.application)
		}
		if got := SlotFor(i, c.node); got != c.wantSlot {
			t.Errorf("slot of %s: got %s, want %s", c.node, got, c.wantSlot)
		}
	}
	long := Instance{SlotName: strings.Repeat("s", 63)}
	if a, b := SlotFor(long, "n1"), SlotFor(long, "n2"); a == b || len(a) != 63 || len(b) != 63 {
		t.Errorf("long prefixes give %s and %s", a, b)
	}
}

func TestInstanceSurvivesItsFile(t *testing.T) {
	f := file(t, "[defaults]\nlog_level=\"debug\"\nsync_timeout=\"1m30s\"\n[defaults.addresses]\n\"db-1.example.com\"=\"::1\"\n[defaults.limits]\nCPUQuota=\"20%\"")
	want, err := Build(params(t, map[string]string{"node_list": "db-1.example.com n2", "container_mode": "yes"}), f, "n2", "pg")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "new", "instance.toml")
	for range 2 { // the second replaces the first
		if err := want.WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadInstanceFile(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, %v\nwant\n%+v", got, err, want)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the file is %v, %v", info, err)
	}
}

func TestInstanceFileOfAnotherVersion(t *testing.T) {
	path := written(t, "Name = \"db\"\nFuture = 1\n")[0]
	i, err := ReadInstanceFile(path)
	if err != nil || i.Name != "db" || i.SyncTimeout != 10*time.Second {
		t.Errorf("got %+v, %v", i, err)
	}
}

func TestReadInstanceRefusesNamesThatLeadElsewhere(t *testing.T) {
	for _, name := range []string{"", "..", "../../etc", "a/b", "a b"} {
		if _, err := ReadInstance(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := ReadInstance("no-such-instance"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an instance that was never started: %v", err)
	}
}

func TestPathsStayBelowTheInstance(t *testing.T) {
	for _, path := range []func(string) string{InstanceFile, Ticket, Intent, ProgressFile, StatusFile, ControlSocket, PassFileCopy} {
		if dir := filepath.Dir(path("db")); dir != "/run/pgtwin/db" {
			t.Errorf("%s is outside", path("db"))
		}
	}
	for _, path := range []func(string) string{ConfDir, MarkerFile, CrashFile} {
		if dir := filepath.Dir(path("db")); dir != "/var/lib/pgtwin/db" {
			t.Errorf("%s is outside", path("db"))
		}
	}
	for _, path := range []func(string) string{PostgresConf, ManagedConf, HBAConf, IdentConf} {
		if dir := filepath.Dir(path("db")); dir != "/var/lib/pgtwin/db/conf" {
			t.Errorf("%s is outside", path("db"))
		}
	}
	// unix(7): 107 bytes, for the longest name there can be.
	if n := len(ControlSocket(strings.Repeat("n", 64))); n > 107 {
		t.Errorf("the control socket's address can have %d bytes", n)
	}
}

func TestReplacedCopiesStayWhereTheResourceSaysSo(t *testing.T) {
	f := file(t, "[defaults]\nkeep_replaced = 3\ncontainer_dirs = [\"/archive/\"]\nbasebackup_max_rate = \"50MB\"")
	for backup, want := range map[string]int{"true": 3, "false": 0} {
		i, err := Build(params(t, map[string]string{"backup_before_basebackup": backup}), f, "n1", "postgres")
		if err != nil || i.KeepReplaced != want {
			t.Errorf("backup_before_basebackup=%s: %d stay, want %d; %v", backup, i.KeepReplaced, want, err)
		}
		if i.BasebackupMaxRate != 50<<20 || !slices.Equal(i.ContainerDirs, []string{"/archive"}) {
			t.Errorf("rate %d, directories %v", i.BasebackupMaxRate, i.ContainerDirs)
		}
	}
}
