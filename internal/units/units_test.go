package units

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"pgtwin/internal/config"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Database("postgres-ha"):      "pgtwin@postgres-ha.service",
		Supervisor("postgres-ha"):    "pgtwin-supervisor@postgres-ha.service",
		Socket("postgres-ha"):        "pgtwin@postgres-ha.socket",
		StatusServer("postgres-ha"):  "pgtwin-status@postgres-ha.service",
		Slice("postgres"):            "pgtwin-postgres.slice",
		Slice("postgres-ha"):         `pgtwin-postgres\x2dha.slice`,
		Slice("a.b_c"):               "pgtwin-a.b_c.slice",
		DatabaseGroup("postgres-ha"): `/pgtwin.slice/pgtwin-postgres\x2dha.slice/pgtwin@postgres-ha.service`,
	} {
		if got != want {
			t.Errorf("name is %s, want %s", got, want)
		}
	}
}

func TestDropIns(t *testing.T) {
	tests := map[string]config.Instance{
		"plain": {Name: "postgres-ha", StopTimeout: 90 * time.Second},
		"full": {Name: "postgres-ha", StopTimeout: 150 * time.Second, HTTPListen: "10.0.0.9:8008", Limits: config.Limits{
			MemoryMax: "80%", MemoryHigh: "6G", MemorySwapMax: "0", CPUQuota: "250%", CPUWeight: "200", IOWeight: "300", TasksMax: "4096"}},
	}
	for name, instance := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := DropIns(instance)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, path := range slices.Sorted(maps.Keys(files)) {
				all.WriteString("==> " + path + "\n" + files[path])
			}
			golden(t, filepath.Join("testdata", "dropins-"+name+".txt"), all.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is different; got\n%s", file, got)
	}
}

func TestListenAddress(t *testing.T) {
	tests := map[string]string{
		":8008":               "ListenStream=8008",
		"0.0.0.0:8008":        "ListenStream=0.0.0.0:8008",
		"[::1]:8008":          "ListenStream=[::1]:8008",
		"[fe80::1%eth0]:8008": "ListenStream=[fe80::1%%eth0]:8008",
		"host:8008":           "",
		"8008":                "",
		"10.0.0.1:80\n08":     "",
	}
	for address, want := range tests {
		got, err := socketDropIn(address)
		if (err != nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("address %q is rendered as %q, %v, want %q", address, got, err, want)
		}
	}
}

func TestLimitsThatWouldLeaveTheirLineAreRefused(t *testing.T) {
	for _, value := range []string{"1G\nExecStart=/bin/true", "1G\\", "1\x00G"} {
		_, err := DropIns(config.Instance{Name: "x", Limits: config.Limits{MemoryMax: value}})
		if err == nil || !strings.Contains(err.Error(), "MemoryMax") {
			t.Errorf("MemoryMax %q: error is %v, want one that names it", value, err)
		}
	}
}

func TestState(t *testing.T) {
	got := parse(map[string]any{
		"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "UnitFileState": "static",
		"InvocationID": []byte{0x0a, 0xff}, "ControlGroup": "/x", "Result": "signal", "MainPID": uint32(7),
		"StatusText": "cloning", "ExecMainCode": int32(2), "ExecMainStatus": int32(9), "NRestarts": uint32(3),
		"Job": []any{uint32(12), dbus.ObjectPath("/org/freedesktop/systemd1/job/12")},
	})
	want := State{LoadState: "loaded", ActiveState: "failed", SubState: "failed", UnitFileState: "static",
		InvocationID: "0aff", ControlGroup: "/x", Result: "signal", MainPID: 7, StatusText: "cloning",
		ExecMainCode: 2, ExecMainStatus: 9, NRestarts: 3, Job: 12}
	if got != want {
		t.Errorf("state is %+v, want %+v", got, want)
	}
	if text := got.String(); text != "failed (failed, result: signal)" {
		t.Errorf("in words it is %q", text)
	}
	if text := (State{LoadState: "not-found", ActiveState: "inactive"}).String(); text != "inactive (not-found)" {
		t.Errorf("in words it is %q", text)
	}
}

func TestOnlyACertainStateIsStoppedOrRunning(t *testing.T) {
	tests := map[string]struct{ running, stopped bool }{
		"active": {running: true}, "activating": {running: true}, "reloading": {running: true},
		"inactive": {stopped: true}, "failed": {stopped: true},
		"deactivating": {}, "maintenance": {}, "": {},
	}
	for active, want := range tests {
		s := State{ActiveState: active}
		if s.Running() != want.running || s.Stopped() != want.stopped {
			t.Errorf("%q: running %v, stopped %v, want %+v", active, s.Running(), s.Stopped(), want)
		}
	}
}
