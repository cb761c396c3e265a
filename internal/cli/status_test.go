package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/units"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func epoch() ha.Epoch { return ha.Epoch{Number: 7, Timeline: 9, Highest: 9, Node: "h1"} }

// wellOn is what the primary h1 or the standby h2 learns while all is well.
func wellOn(node string) facts {
	e := epoch()
	f := facts{
		now: now, name: "postgres-ha", here: node, kept: true, all: []string{"postgres-ha"},
		instance: &config.Instance{
			Name: "postgres-ha", Resource: "postgres-db", Node: node, RepMode: "sync", VIP: "10.77.0.100",
			ContainerMode: true, Runtime: "podman", Image: "localhost/postgres:17", SlotName: "ha_slot",
		},
		state: &control.State{
			Instance: "postgres-ha", Resource: "postgres-db", Node: node, Updated: now, Role: ha.Primary,
			Phase: control.PhaseRunning, Timeline: 9, LSN: 0x5000148, Epoch: &e, InSync: true, Score: 1000,
			Quorate: true, Fencing: true, Runtime: "podman", Image: digest,
			Standbys: []control.Standby{{Node: "h2", State: "streaming", Sync: "sync", Flushed: 0x5000148, Slot: "ha_slot_h2"}},
		},
		database: &units.State{LoadState: "loaded", ActiveState: "active", SubState: "running"},
		watcher:  &units.State{LoadState: "loaded", ActiveState: "active", SubState: "running"},
		view: &cluster.View{
			Nodes: []ha.Membership{
				{Node: "h1", ID: 1, Online: true, InSync: 7, Score: 1000, Scored: true},
				{Node: "h2", ID: 2, Online: true, InSync: 7, Score: 100, Scored: true},
			},
			Quorate: true, Fencing: true, Epoch: e, DC: "h1",
		},
		status: &cluster.Status{
			Quorate: true, Fencing: true, Resource: "postgres-db",
			Attributes: map[string]map[string]string{
				"h1": {"pgtwin-postgres-ha-status": "role=primary phase=running timeline=9 runtime=podman"},
				"h2": {"pgtwin-postgres-ha-status": "role=standby phase=running timeline=9 runtime=podman"},
			},
			Instances: []cluster.InstanceStatus{
				{Node: "h1", Role: "Promoted", Managed: true}, {Node: "h2", Role: "Unpromoted", Managed: true},
			},
			Addresses: []cluster.Address{{Resource: "postgres-vip", IP: "10.77.0.100", Node: "h1"}},
		},
	}
	if node == "h2" {
		f.state.Role, f.state.Standbys, f.state.Score = ha.Standby, nil, 100
		f.state.Receiving, f.state.Upstream, f.state.Replayed = true, "h1", 0x5000148
		f.state.UpstreamLSN = 0x5000148
	}
	return f
}

func (f *facts) withoutPeer(node string) {
	m := f.member(node)
	m.Online, m.InSync, m.Scored = false, 0, false
	f.status.Instances = []cluster.InstanceStatus{{Node: f.here, Role: f.resource(f.here).Role, Managed: true}}
	f.state.Standbys = nil
}

func (f *facts) publish(node, summary string) {
	f.status.Attributes[node] = map[string]string{"pgtwin-postgres-ha-status": summary}
}

func (f *facts) withoutCluster() {
	f.view, f.status = nil, nil
	f.clusterErr = fmt.Errorf("cannot read the cluster information base: %w", &cluster.ToolError{Tool: "cibadmin", Code: 102})
}

func (f *facts) withoutSupervisor() {
	f.supervisor = errors.New("connection refused")
	f.state.Updated = now.Add(-3 * time.Minute)
	f.watcher = &units.State{LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "signal"}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		golden string
		node   string
		change func(*facts)
		health Health
	}{
		{"all-well-on-the-primary", "h1", func(*facts) {}, Healthy},
		{"all-well-on-the-standby", "h2", func(*facts) {}, Healthy},
		{"standby-cloning", "h2", func(f *facts) {
			*f.state = control.State{
				Instance: "postgres-ha", Node: "h2", Updated: now, Role: ha.Down, Phase: control.PhaseCloning, Runtime: "podman",
				Detail: "copying the database from h1", Score: ha.Minus, Quorate: true, Fencing: true, Image: digest,
				Replaced: []string{"/var/lib/pgsql/data.replaced-20260101T120000"},
				Progress: &control.Progress{Done: 6 << 30, Total: 25 << 30, Rate: 48 << 20, Since: now.Add(-130 * time.Second)},
			}
			f.view.Nodes[1].InSync, f.view.Nodes[1].Score = 0, ha.Minus
		}, Degraded},
		{"peer-cloning", "h1", func(f *facts) {
			f.state.Standbys = nil
			f.state.Warnings = []string{"h2 is behind: a failure of this host now would interrupt the service"}
			f.view.Nodes[1].InSync, f.view.Nodes[1].Score = 0, ha.Minus
			f.publish("h2", "role=down phase=cloning timeline=0 runtime=podman progress=40")
		}, Degraded},
		{"a-standby-among-three", "h2", func(f *facts) {
			f.view.Nodes = append(f.view.Nodes, ha.Membership{Node: "h3", ID: 3, Online: true, InSync: 7, Score: 100, Scored: true})
			f.status.Instances = append(f.status.Instances, cluster.InstanceStatus{Node: "h3", Role: "Unpromoted", Managed: true})
			f.publish("h3", "role=standby phase=running timeline=9 runtime=podman")
		}, Healthy},
		{"peer-promoted-since-its-summary", "h2", func(f *facts) {
			f.state.Receiving, f.state.UpstreamLSN = false, 0
			f.state.Warnings = []string{"no WAL is received from h1"}
			f.publish("h1", "role=standby phase=running timeline=8 runtime=podman")
		}, Degraded},
		{"primary-alone", "h1", func(f *facts) {
			f.withoutPeer("h2")
			f.state.Warnings = []string{"h2 is behind: a failure of this host now would interrupt the service"}
		}, Degraded},
		{"commits-wait", "h1", func(f *facts) {
			f.state.Standbys = nil
			f.state.Warnings = []string{"commits wait for h2, which is not connected"}
		}, Degraded},
		{"peer-unclean", "h2", func(f *facts) {
			f.withoutPeer("h1")
			f.view.Nodes[0].Unclean = true
			f.status.Addresses[0].Node = ""
			f.state.Receiving = false
			f.state.Warnings = []string{"no WAL is received from h1"}
		}, Down},
		{"no-quorum", "h1", func(f *facts) {
			f.withoutPeer("h2")
			f.view.Quorate = false
			f.state.Warnings = []string{"this part of the cluster has no quorum"}
		}, Degraded},
		{"no-fencing", "h1", func(f *facts) {
			f.view.Fencing = false
			f.state.Warnings = []string{"fencing is not configured: a host that is cut off may go on writing, and what it acknowledges is lost"}
		}, Degraded},
		{"pacemaker-down-on-the-primary", "h1", func(f *facts) {
			f.withoutCluster()
			f.state.Warnings = []string{"Pacemaker does not answer"}
		}, Degraded},
		{"pacemaker-down-on-the-standby", "h2", (*facts).withoutCluster, Degraded},
		{"supervisor-down", "h1", (*facts).withoutSupervisor, Degraded},
		{"supervisor-down-and-postgres-stopped", "h2", func(f *facts) {
			f.withoutSupervisor()
			f.database = &units.State{LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "oom-kill"}
		}, Degraded},
		{"supervisor-and-pacemaker-down", "h1", func(f *facts) {
			f.withoutSupervisor()
			f.withoutCluster()
		}, Down},
		{"starting-before-the-supervisor", "h1", func(f *facts) {
			f.state, f.supervisor = nil, fs.ErrNotExist
			f.database = &units.State{LoadState: "loaded", ActiveState: "activating", StatusText: "starting: crash recovery"}
			f.status.Instances = nil
			f.status.Addresses[0].Node = ""
		}, Down},
		{"postgres-down", "h1", func(f *facts) {
			f.state.Role, f.state.Timeline, f.state.LSN, f.state.Standbys = ha.Down, 0, 0, nil
			f.status.Instances[0].Failed, f.status.Instances[0].Blocked = true, true
			f.status.Failures = []cluster.Failure{
				{Operation: "postgres-db_monitor_3000", Node: "h1", Exit: "not running", Reason: "PostgreSQL died", When: "Sun Mar 1 11:59:58 2026"},
				{Operation: "other_start_0", Node: "h1", Exit: "error"},
			}
			f.status.Addresses[0].Node = ""
		}, Down},
		{"postgres-does-not-answer", "h1", func(f *facts) {
			f.state.Role, f.state.Standbys = ha.Unknown, nil
			f.state.Warnings = []string{"PostgreSQL does not answer: context deadline exceeded"}
		}, Down},
		{"two-primaries", "h2", func(f *facts) {
			f.state.Role = ha.Primary
			f.status.Addresses[0].Node = "h2"
		}, Degraded},
		{"peer-promoting-and-a-quorum-node", "h2", func(f *facts) {
			f.instance.Nodes = []string{"h1", "h2"}
			f.view.Nodes = append(f.view.Nodes, ha.Membership{Node: "arbiter", ID: 3, Online: true})
			f.state.Receiving = false
			f.status.Instances[0] = cluster.InstanceStatus{Node: "h1", Role: "Unpromoted", Managed: true, Pending: "Promoting"}
		}, Down},
		{"maintenance-and-unmanaged", "h1", func(f *facts) { f.view.Maintenance = true; f.status.Instances[0].Managed = false }, Degraded},
		{"not-started-since-the-boot", "h2", func(f *facts) {
			f.withoutPeer("h2")
			f.view.Nodes[1].Online = true
			f.instance, f.state = nil, nil
			f.status.Instances = []cluster.InstanceStatus{{Node: "h1", Role: "Promoted", Managed: true}}
			f.instanceErr = fmt.Errorf("cannot read the settings: %w", fs.ErrNotExist)
			f.database.ActiveState = "inactive"
		}, Degraded},
		{"instance-unknown", "h1", func(f *facts) {
			*f = facts{now: now, name: "nosuch", here: "h1", all: []string{"postgres-ha"}, view: &cluster.View{Quorate: true, Fencing: true,
				Nodes: f.view.Nodes}, instanceErr: fs.ErrNotExist}
		}, Down},
	}
	for _, test := range tests {
		t.Run(test.golden, func(t *testing.T) {
			f := wellOn(test.node)
			test.change(&f)
			r := newReport(f)
			if r.Health != test.health {
				t.Errorf("health %d, want %d", r.Health, test.health)
			}
			var out bytes.Buffer
			if err := r.writeTable(&out, false); err != nil {
				t.Fatal(err)
			}
			compare(t, test.golden+".txt", out.Bytes())
		})
	}
}

func TestJSONIsAnInterface(t *testing.T) {
	var out bytes.Buffer
	p := page{out: &out, json: true}
	if err := p.print([]Report{newReport(wellOn("h1")), newReport(facts{now: now, name: "nosuch"})}); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(out.Bytes()) {
		t.Error("not valid")
	}
	compare(t, "report.json", out.Bytes())
}

func TestWarningsAreInColourOnATerminalAlone(t *testing.T) {
	f := wellOn("h1")
	f.state.Warnings = []string{"look"}
	for colour, want := range map[bool]string{true: "\x1b[1;31m! look\x1b[0m\n", false: "\n! look\n"} {
		var out bytes.Buffer
		if err := newReport(f).writeTable(&out, colour); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "\x1b") != colour {
			t.Errorf("colour %v: %q", colour, out.String())
		}
	}
}

func TestExitStatusIsThatOfTheWorstInstance(t *testing.T) {
	tests := []struct {
		name    string
		reports []Report
		want    error
	}{
		{"no instance", nil, exitError(2)},
		{"healthy", []Report{{Health: Healthy}}, nil},
		{"one degraded", []Report{{Health: Degraded}, {Health: Healthy}}, exitError(1)},
		{"one down", []Report{{Health: Degraded}, {Health: Down}, {Health: Healthy}}, exitError(2)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := exit(test.reports); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	golden := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", golden, got)
	}
}
