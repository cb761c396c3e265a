package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
)

// call is what a tool was asked.
type call struct {
	Args  []string
	Stdin string
	Lang  string
}

// TestMain lets the test binary stand in for Pacemaker's tools when it is
// started under another name.
func TestMain(m *testing.M) {
	if tool := filepath.Base(os.Args[0]); !strings.HasSuffix(tool, ".test") {
		os.Exit(standIn())
	}
	os.Exit(m.Run())
}

func standIn() int {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1
	}
	text, err := json.Marshal(call{os.Args, string(stdin), os.Getenv("LC_ALL")})
	if err != nil || os.WriteFile(os.Getenv("STANDIN_CALL"), text, 0o600) != nil {
		return 1
	}
	if os.Getenv("STANDIN_HANG") != "" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt)
		<-stop
	}
	answer, err := os.ReadFile(os.Getenv("STANDIN_STDOUT") + filepath.Base(os.Args[0]))
	if err == nil {
		os.Stdout.Write(answer)
	}
	fmt.Fprint(os.Stderr, os.Getenv("STANDIN_STDERR"))
	code, _ := strconv.Atoi(os.Getenv("STANDIN_CODE"))
	return code
}

// withTools returns a client whose tools are stand-ins, and a function that
// tells what the last of them was asked.
func withTools(t *testing.T) (*Client, func() call) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"cibadmin", "crm_attribute", "crm_resource", "attrd_updater", "crm_mon"} {
		if err := os.Symlink(self, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(dir, "call")
	t.Setenv("STANDIN_CALL", record)
	t.Setenv("STANDIN_STDOUT", filepath.Join(dir, "answer-"))
	c := New("postgres", "postgres-ha", "h1")
	c.tools = dir
	return c, func() (last call) {
		t.Helper()
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &last); err != nil {
			t.Fatal(err)
		}
		return last
	}
}

func TestToolsAreAsked(t *testing.T) {
	epoch := ha.Epoch{Number: 8, System: 1, Timeline: 10, Highest: 10, Switch: 0x40000A0, Node: "h2"}
	view := View{Nodes: []ha.Membership{{Node: "h1", ID: 1}, {Node: "h2", ID: 2}}}
	const modify = "cibadmin --modify --allow-create --xml-pipe"
	tests := map[string]struct {
		do    func(context.Context, *Client) error
		args  string
		stdin string
	}{
		"a promotion: the epoch and both nodes in one step": {
			func(ctx context.Context, c *Client) error {
				return c.Write(ctx, view, Record{Epoch: &epoch, InSync: map[string]int{"h2": 8, "h1": 0}})
			}, modify,
			`<cib><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="cib-bootstrap-options-pgtwin-postgres-ha-epoch" name="pgtwin-postgres-ha-epoch" value="epoch=8 system=1 timeline=10 highest=10 switch=0/40000A0 node=h2"></nvpair><nvpair id="cib-bootstrap-options-pgtwin-postgres-ha-insync-h1" name="pgtwin-postgres-ha-insync-h1" value="behind"></nvpair><nvpair id="cib-bootstrap-options-pgtwin-postgres-ha-insync-h2" name="pgtwin-postgres-ha-insync-h2" value="8"></nvpair></cluster_property_set></crm_config></configuration></cib>`,
		},
		"a record of a rank": {
			func(ctx context.Context, c *Client) error {
				return c.Write(ctx, view, Record{InSync: map[string]int{"h2": 0}, Rank: 2501})
			}, modify,
			`<cib admin_epoch="2501"><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="cib-bootstrap-options-pgtwin-postgres-ha-insync-h2" name="pgtwin-postgres-ha-insync-h2" value="behind"></nvpair></cluster_property_set></crm_config></configuration></cib>`,
		},
		"a rank alone": {
			func(ctx context.Context, c *Client) error { return c.Write(ctx, view, Record{Rank: 2500}) }, modify,
			`<cib admin_epoch="2500"><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"></cluster_property_set></crm_config></configuration></cib>`,
		},
		"one node's attribute alone": {
			func(ctx context.Context, c *Client) error {
				return c.Write(ctx, view, Record{InSync: map[string]int{"h2": 0}})
			}, modify,
			`<cib><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="cib-bootstrap-options-pgtwin-postgres-ha-insync-h2" name="pgtwin-postgres-ha-insync-h2" value="behind"></nvpair></cluster_property_set></crm_config></configuration></cib>`,
		},
		"a score": {
			func(ctx context.Context, c *Client) error { return c.SetScore(ctx, "h2", -1) },
			"crm_attribute --promotion=postgres --node=h2 --update=-1", "",
		},
		"no promotion": {
			func(ctx context.Context, c *Client) error { return c.SetScore(ctx, "h2", ha.Minus) },
			"crm_attribute --promotion=postgres --node=h2 --update=-INFINITY", "",
		},
		"the score is removed": {
			func(ctx context.Context, c *Client) error { return c.ClearScore(ctx, "h2") },
			"crm_attribute --promotion=postgres --node=h2 --delete", "",
		},
		"a failure is reported": {
			func(ctx context.Context, c *Client) error { return c.Fail(ctx, "h1") },
			"crm_resource --fail --resource=postgres --node=h1", "",
		},
		"a peer's copy": {
			func(ctx context.Context, c *Client) error {
				_, err := c.Knows(ctx, "h2", epoch)
				if err != nil && !strings.Contains(err.Error(), "EOF") { // the stand-in has no answer
					return err
				}
				return nil
			}, "cibadmin --query --node=h2 --scope=crm_config", "",
		},
		"an attribute": {
			func(ctx context.Context, c *Client) error {
				return c.SetAttribute(ctx, "pgtwin-postgres-ha-crash", "2 today")
			},
			"attrd_updater --name=pgtwin-postgres-ha-crash --node=h1 --update=2 today", "",
		},
		"an attribute is removed": {
			func(ctx context.Context, c *Client) error { return c.SetAttribute(ctx, "pgtwin-postgres-ha-crash", "") },
			"attrd_updater --name=pgtwin-postgres-ha-crash --node=h1 --delete", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, last := withTools(t)
			if err := test.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := last()
			if args := strings.TrimPrefix(strings.Join(got.Args, " "), c.tools+"/"); args != test.args {
				t.Errorf("asked\n%s, want\n%s", args, test.args)
			}
			if got.Stdin != test.stdin {
				t.Errorf("standard input is\n%s, want\n%s", got.Stdin, test.stdin)
			}
			if got.Lang != "C" {
				t.Errorf("LC_ALL is %q, want C", got.Lang)
			}
		})
	}
}

func TestWriteOfNothingAsksNobody(t *testing.T) {
	c := New("postgres", "postgres-ha", "h1")
	c.tools = "/nonexistent"
	if err := c.Write(t.Context(), View{}, Record{}); err != nil {
		t.Error(err)
	}
}

func TestWriteForAnUnknownNodeIsRefused(t *testing.T) {
	c, _ := withTools(t)
	view := View{Nodes: []ha.Membership{{Node: "h1", ID: 1}}}
	if err := c.Write(t.Context(), view, Record{InSync: map[string]int{"h1": 1, "h3": 0}}); err == nil {
		t.Error("a record for h3 was accepted, which is no node of the cluster")
	}
}

func TestFailuresOfTools(t *testing.T) {
	tests := map[string]struct {
		code         string
		stderr       string
		do           func(context.Context, *Client) error
		want         string // part of the error; "" for success
		notConnected bool
	}{
		"Pacemaker is down": {"102", "Could not connect to the CIB: Transport endpoint is not connected\nInit failed\n",
			func(ctx context.Context, c *Client) error { _, err := c.Read(ctx); return err },
			"cibadmin ended with exit status 102: Init failed", true},
		"a schema violation": {"78", "Call cib_modify failed (-203): Update does not conform to the configured schema\n",
			func(ctx context.Context, c *Client) error { return c.Write(ctx, View{}, Record{Epoch: &epoch7}) },
			"does not conform", false},
		"no score to remove":            {"105", "", func(ctx context.Context, c *Client) error { return c.ClearScore(ctx, "h1") }, "", false},
		"no score to remove, as of old": {"6", "", func(ctx context.Context, c *Client) error { return c.ClearScore(ctx, "h1") }, "", false},
		"no attribute is no reason for a failed update": {"105", "no such attribute",
			func(ctx context.Context, c *Client) error { return c.SetScore(ctx, "h1", 1) }, "no such attribute", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := withTools(t)
			t.Setenv("STANDIN_CODE", test.code)
			t.Setenv("STANDIN_STDERR", test.stderr)
			err := test.do(t.Context(), c)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			if errors.Is(err, ErrNotConnected) != test.notConnected {
				t.Errorf("error %v is ErrNotConnected: %v, want %v", err, !test.notConnected, test.notConnected)
			}
		})
	}
}

func TestAToolThatHangsIsEndedAtTheDeadline(t *testing.T) {
	c, _ := withTools(t)
	t.Setenv("STANDIN_HANG", "yes")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotConnected) {
		t.Errorf("error is %v, want the deadline", err)
	}
}

func TestAMissingToolIsNamed(t *testing.T) {
	c := New("postgres", "postgres-ha", "h1")
	c.tools = "/nonexistent"
	if _, err := c.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "/nonexistent/cibadmin") {
		t.Errorf("error is %v, want one that names the tool", err)
	}
}

func TestStatus(t *testing.T) {
	for _, version := range []string{"2.1.5", "3.0"} {
		t.Run(version, func(t *testing.T) {
			c, _ := withTools(t)
			for tool, file := range map[string]string{"cibadmin": "cib-" + version + "-online.xml", "crm_mon": "mon-" + version + ".xml"} {
				path, err := filepath.Abs(filepath.Join("testdata", file))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(c.tools, "answer-"+tool)); err != nil {
					t.Fatal(err)
				}
			}
			s, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkStatus(t, s)
		})
	}
}

func checkStatus(t *testing.T, s Status) {
	t.Helper()
	if s.DC != "h1" || !s.Quorate || !s.Fencing || s.Maintenance {
		t.Errorf("status is %+v", s)
	}
	if len(s.Nodes) < 2 || s.Nodes[0] != (NodeStatus{Name: "h1", Online: true, IsDC: true}) || s.Nodes[1] != (NodeStatus{Name: "h2", Online: true}) {
		t.Errorf("nodes are %+v", s.Nodes)
	}
	instances := []InstanceStatus{{Node: "h1", Role: "Promoted", Managed: true}, {Node: "h2", Role: "Unpromoted", Managed: true}}
	if !slices.Equal(s.Instances, instances) {
		t.Errorf("instances are %+v, want %+v", s.Instances, instances)
	}
	if len(s.Failures) != 1 || s.Failures[0].Operation != "postgres_monitor_10000" || s.Failures[0].Reason != "PostgreSQL died: killed" {
		t.Errorf("failures are %+v", s.Failures)
	}
	if s.Attributes["h1"]["pgtwin-postgres-ha-insync"] != "7" || s.Attributes["h2"]["master-postgres"] != "900" {
		t.Errorf("attributes are %v", s.Attributes)
	}
	if resource, node := s.Holder("10.0.0.9"); resource != "vip" || node != "h1" {
		t.Errorf("the address is held by %q on %q, want vip on h1", resource, node)
	}
	if resource, node := s.Holder("10.0.0.10"); resource != "" || node != "" {
		t.Errorf("an address nobody manages is held by %q on %q", resource, node)
	}
}

func TestTheResourceIsFoundByItsInstance(t *testing.T) {
	const cib = `<cib><configuration><resources>
		<template id="t" class="ocf" type="pgtwin"><instance_attributes id="t-p"><nvpair name="container_name" value="db"/></instance_attributes></template>
		<clone id="c1"><primitive id="one" class="ocf" type="pgtwin"/></clone>
		<clone id="c2"><primitive id="two" template="t"/></clone>
		<primitive id="other" class="ocf" type="IPaddr2"><instance_attributes id="o"><nvpair name="container_name" value="web"/></instance_attributes></primitive>
	</resources></configuration></cib>`
	parsed, err := parseCIB([]byte(cib))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, given, instance, want string }{
		{"stated, by its template", "", "db", "two"},
		{"not stated: the default instance", "", ocf.Default("container_name"), "one"},
		{"no such instance", "", "web", ""},
		{"what was given stands", "mine", "db", "mine"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := New(test.given, test.instance, "").informed(parsed).Resource; got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

func TestStatusOfAStoppedCluster(t *testing.T) {
	c, _ := withTools(t)
	t.Setenv("STANDIN_CODE", "102")
	answer := `<pacemaker-result api-version="2.38" request="crm_mon"><status code="102" message="Not connected"><errors><error>crm_mon: Connection to cluster failed: Connection refused</error></errors></status></pacemaker-result>`
	if err := os.WriteFile(filepath.Join(c.tools, "answer-crm_mon"), []byte(answer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := c.Status(t.Context())
	if !errors.Is(err, ErrNotConnected) || !strings.Contains(err.Error(), "Connection refused") {
		t.Errorf("error is %v, want ErrNotConnected with what crm_mon printed", err)
	}
}

func TestRolesHaveOneName(t *testing.T) {
	c := New("postgres", "postgres-ha", "h1")
	text := `<crm_mon version="2.0.5"><resources><clone id="c" multi_state="true"><resource id="postgres" role="Master" managed="true"><node name="h1"/></resource><resource id="postgres:1" role="Slave" managed="true"><node name="h2"/></resource><resource id="postgres" role="Stopped" managed="true" blocked="true"/></clone></resources></crm_mon>`
	s, err := c.status([]byte(text), &cib{})
	if err != nil {
		t.Fatal(err)
	}
	want := []InstanceStatus{{Node: "h1", Role: "Promoted", Managed: true}, {Node: "h2", Role: "Unpromoted", Managed: true}, {Role: "Stopped", Managed: true, Blocked: true}}
	if !slices.Equal(s.Instances, want) {
		t.Errorf("instances are %+v, want %+v", s.Instances, want)
	}
}
