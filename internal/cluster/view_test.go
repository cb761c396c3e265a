package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgtwin/internal/ha"
)

var epoch7 = ha.Epoch{Number: 7, System: 7412345678901234567, Timeline: 9, Highest: 9, Switch: 0x3000060, Node: "h1"}

func viewOf(t *testing.T, file string) (View, error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	cib, err := parseCIB(text)
	if err != nil {
		t.Fatal(err)
	}
	return New("postgres", "postgres-ha", "h1").view(cib)
}

// The membership of each file is what crm_mon of the version in its name says
// of it, except that a node which is joining, is there but to be fenced, or has
// left a database behind is no clean member to us.
func TestMembership(t *testing.T) {
	tests := map[string]struct{ online, unclean bool }{
		"2.1.5-online":                {online: true},
		"2.1.5-peer-unclean":          {unclean: true},
		"2.1.5-peer-fenced":           {},
		"2.1.5-clean-shutdown":        {},
		"2.1.5-new-cluster":           {online: true},
		"3.0-online":                  {online: true},
		"3.0-peer-unclean":            {unclean: true},
		"3.0-peer-process-gone":       {unclean: true},
		"3.0-peer-fenced":             {},
		"3.0-peer-joining":            {unclean: true},
		"3.0-peer-never-seen":         {unclean: true},
		"3.0-fencing-requested":       {unclean: true},
		"3.0-shutdown-in-maintenance": {unclean: true},
		"3.0-no-quorum":               {unclean: true},
		"3.0-fencing-disabled":        {online: true},
		"3.0-no-fencing-device":       {online: true},
		"3.0-maintenance":             {online: true},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			v, err := viewOf(t, "cib-"+name+".xml")
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Nodes) != 2 || v.Nodes[0].Node != "h1" || v.Nodes[1].Node != "h2" {
				t.Fatalf("nodes are %+v, want h1 and h2", v.Nodes)
			}
			if self := v.Nodes[0]; !self.Online || self.Unclean {
				t.Errorf("h1 is %+v, want it online", self)
			}
			if peer := v.Nodes[1]; peer.Online != want.online || peer.Unclean != want.unclean {
				t.Errorf("h2 is %+v, want online %v, unclean %v", peer, want.online, want.unclean)
			}
		})
	}
}

func TestView(t *testing.T) {
	healthy := View{
		Nodes: []ha.Membership{
			{Node: "h1", ID: 1, Online: true, InSync: 7, Score: 1000, Scored: true},
			{Node: "h2", ID: 2, Online: true, InSync: 7, Score: 900, Scored: true},
		},
		Quorate: true, Fencing: true, Epoch: epoch7, DC: "h1", Tracked: true,
	}
	with := func(change func(*View)) View {
		v := healthy
		v.Nodes = append([]ha.Membership(nil), healthy.Nodes...)
		change(&v)
		return v
	}
	tests := map[string]struct {
		file string
		want View
	}{
		"two nodes, Pacemaker 2.1.5":                {"2.1.5-online", healthy},
		"two nodes and a remote one, Pacemaker 3.0": {"3.0-online", healthy},
		"a new cluster has no epoch, no scores and nobody in sync": {"2.1.5-new-cluster", with(func(v *View) {
			v.Epoch, v.Tracked = ha.Epoch{}, false
			v.Nodes[0] = ha.Membership{Node: "h1", ID: 1, Online: true}
			v.Nodes[1] = ha.Membership{Node: "h2", ID: 2, Online: true}
		})},
		"a standby that stopped is behind and has no score": {"2.1.5-clean-shutdown", with(func(v *View) {
			v.Nodes[1] = ha.Membership{Node: "h2", ID: 2}
		})},
		"minus infinity is a score": {"3.0-fencing-requested", with(func(v *View) {
			v.Nodes[1].Online, v.Nodes[1].Unclean, v.Nodes[1].Score = false, true, ha.Minus
		})},
		"without quorum": {"3.0-no-quorum", with(func(v *View) {
			v.Quorate = false
			v.Nodes[1].Online, v.Nodes[1].Unclean = false, true
		})},
		"fencing disabled is no fencing":     {"3.0-fencing-disabled", with(func(v *View) { v.Fencing = false })},
		"fencing without a device is none":   {"3.0-no-fencing-device", with(func(v *View) { v.Fencing = false })},
		"the cluster is in maintenance mode": {"3.0-maintenance", with(func(v *View) { v.Maintenance = true })},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := viewOf(t, "cib-"+test.file+".xml")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("view is\n%+v, want\n%+v", got, test.want)
			}
		})
	}
}

func TestTracked(t *testing.T) {
	probe := operation{Name: "monitor", Interval: "0", Call: 12, Code: 8}
	pending := operation{Name: "monitor", Interval: "0", Call: -1, Code: 193}
	tests := []struct {
		name    string
		history []history
		want    bool
	}{
		{"nothing is recorded of a new host", nil, false},
		{"a probe is under way", []history{{"postgres", []operation{pending}}}, false},
		{"a probe has ended", []history{{"postgres", []operation{probe}}}, true},
		{"of an instance by number", []history{{"postgres:1", []operation{probe}}}, true},
		{"of another resource", []history{{"vip", []operation{probe}}}, false},
	}
	for _, test := range tests {
		if got := (&nodeState{History: test.history}).tracked("postgres"); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// The file was captured from a cluster of three hosts.
func TestViewOfARealCluster(t *testing.T) {
	got, err := viewOf(t, "cib-3.0-captured.xml")
	if err != nil {
		t.Fatal(err)
	}
	want := View{Quorate: true, Fencing: true, DC: "h2", Nodes: []ha.Membership{
		{Node: "h1", ID: 1, Online: true}, {Node: "h2", ID: 2, Online: true}, {Node: "h3", ID: 3, Online: true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("view is\n%+v, want\n%+v", got, want)
	}
}

func TestGarbledEpochIsAnErrorNotAMissingOne(t *testing.T) {
	_, err := viewOf(t, "cib-3.0-epoch-garbled.xml")
	if err == nil || !strings.Contains(err.Error(), "pgtwin-postgres-ha-epoch") {
		t.Errorf("error is %v, want one that names the property", err)
	}
}

func TestUnknownSelfIsAnError(t *testing.T) {
	cib, err := parseCIB([]byte(`<cib><configuration><nodes><node id="1" uname="h1"/></nodes></configuration></cib>`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New("postgres", "postgres-ha", "h3").view(cib); err == nil {
		t.Error("a client on h3 accepted a cluster of h1 alone")
	}
}

func TestOnlyACibIsAccepted(t *testing.T) {
	for _, text := range []string{"", "<nodes/>", "<cib><configuration>"} {
		if _, err := parseCIB([]byte(text)); err == nil {
			t.Errorf("%q was accepted as a CIB", text)
		}
	}
}

func TestFencing(t *testing.T) {
	const device = `<primitive id="f" class="stonith" type="fence_x"/>`
	option := func(name, value string) string {
		return `<nvpair id="cib-bootstrap-options-` + name + `" name="` + name + `" value="` + value + `"/>`
	}
	tests := map[string]struct {
		options, resources string
		want               bool
	}{
		"enabled unless said otherwise":          {"", device, true},
		"nothing that could fence":               {"", "", false},
		"switched off":                           {option("stonith-enabled", "off"), device, false},
		"the new name wins over the old":         {option("stonith-enabled", "true") + option("fencing-enabled", "false"), device, false},
		"a device in a group in a clone":         {"", `<clone id="c"><group id="g">` + device + `</group></clone>`, true},
		"a device by template":                   {"", `<template id="t" class="stonith" type="fence_x"/><primitive id="f" template="t"/>`, true},
		"a device the administrator stopped":     {"", `<primitive id="f" class="stonith" type="fence_x"><meta_attributes id="m"><nvpair id="n" name="target-role" value="Stopped"/></meta_attributes></primitive>`, false},
		"a watchdog and a timeout":               {option("have-watchdog", "true") + option("stonith-watchdog-timeout", "10s"), "", true},
		"a watchdog alone only guards this node": {option("have-watchdog", "true") + option("stonith-watchdog-timeout", "0s"), "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cib, err := parseCIB([]byte(`<cib><configuration><crm_config><cluster_property_set id="cib-bootstrap-options">` +
				test.options + `</cluster_property_set></crm_config><resources>` + test.resources + `</resources></configuration></cib>`))
			if err != nil {
				t.Fatal(err)
			}
			if got := cib.fencing(); got != test.want {
				t.Errorf("fencing is %v, want %v", got, test.want)
			}
		})
	}
}

func TestTheBootstrapSetWins(t *testing.T) {
	cib, err := parseCIB([]byte(`<cib><configuration><crm_config>
		<cluster_property_set id="other"><nvpair id="a" name="x" value="1"/></cluster_property_set>
		<cluster_property_set id="cib-bootstrap-options"><nvpair id="b" name="x" value="2"/></cluster_property_set>
		</crm_config></configuration></cib>`))
	if err != nil {
		t.Fatal(err)
	}
	if got := cib.option("", "x"); got != "2" {
		t.Errorf("x is %q, want the bootstrap set's 2", got)
	}
}

func TestScores(t *testing.T) {
	tests := map[string]struct {
		score int
		ok    bool
	}{
		"100": {100, true}, "-1": {-1, true}, "0": {0, true},
		"INFINITY": {1000000, true}, "+INFINITY": {1000000, true}, "-INFINITY": {ha.Minus, true},
		"2000000": {1000000, true}, "-99999999": {ha.Minus, true},
		"": {}, "high": {},
	}
	for text, want := range tests {
		if score, ok := parseScore(text); score != want.score || ok != want.ok {
			t.Errorf("score %q is read as %d, %v, want %d, %v", text, score, ok, want.score, want.ok)
		}
	}
}
