package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgtwin/test/lab"
)

// View is the cluster as crm_mon shows it.
type View struct {
	Nodes     []Node     `xml:"nodes>node"`
	Resources []resource `xml:"resources>resource"`
	Clones    []struct {
		ID        string     `xml:"id,attr"`
		Resources []resource `xml:"resource"`
	} `xml:"resources>clone"`
	Failures []Failure `xml:"failures>failure"`
	DC       struct {
		Quorum bool `xml:"with_quorum,attr"`
	} `xml:"summary>current_dc"`
}

// Node is a host as Pacemaker sees it.
type Node struct {
	Name    string `xml:"name,attr"`
	Online  bool   `xml:"online,attr"`
	Unclean bool   `xml:"unclean,attr"`
	Pending bool   `xml:"pending,attr"`
	Standby bool   `xml:"standby,attr"`
}

// Failure is a failed action that Pacemaker has not forgotten.
type Failure struct {
	Node   string `xml:"node,attr"`
	Op     string `xml:"op_key,attr"`
	Status string `xml:"exitstatus,attr"`
	Reason string `xml:"exitreason,attr"`
}

type resource struct {
	ID     string `xml:"id,attr"`
	Role   string `xml:"role,attr"`
	Active bool   `xml:"active,attr"`
	Failed bool   `xml:"failed,attr"`
	Nodes  []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

// View asks the first host that can answer.
func (c *Cluster) View(ctx context.Context) (View, error) {
	failed := errors.New("no host is running")
	for _, h := range c.Hosts() {
		if !h.Running() || h.Frozen() {
			continue
		}
		out, err := h.Run(ctx, "crm_mon", "--one-shot", "--inactive", "--output-as=xml")
		if err == nil {
			return parseView(out)
		}
		failed = err
	}
	return View{}, fmt.Errorf("cannot ask Pacemaker: %w", failed)
}

func parseView(text string) (View, error) {
	var v View
	if err := xml.Unmarshal([]byte(text), &v); err != nil {
		return v, fmt.Errorf("cannot read crm_mon's output: %w", err)
	}
	return v, nil
}

// Role is the role of the database on a node, "" where it is not active.
func (v View) Role(node string) string {
	for _, clone := range v.Clones {
		if clone.ID != Clone {
			continue
		}
		for _, r := range clone.Resources {
			for _, n := range r.Nodes {
				if n.Name == node && r.Active {
					return r.Role
				}
			}
		}
	}
	return ""
}

// AddressOn is the node that has the virtual address, "" while none has.
func (v View) AddressOn() string {
	for _, r := range v.Resources {
		if r.ID == Address && r.Role == "Started" && len(r.Nodes) == 1 {
			return r.Nodes[0].Name
		}
	}
	return ""
}

// Calm says what is missing to a cluster whose nodes are all there, with working fencing and nothing that failed.
func (v View) Calm() error {
	var missing []string
	if !v.DC.Quorum {
		missing = append(missing, "there is no DC with quorum")
	}
	for _, n := range v.Nodes {
		if !n.Online || n.Unclean || n.Pending || n.Standby {
			missing = append(missing, fmt.Sprintf("node %s is online=%t unclean=%t pending=%t standby=%t", n.Name, n.Online, n.Unclean, n.Pending, n.Standby))
		}
	}
	for _, r := range v.Resources {
		if r.Failed || r.Role != "Started" {
			missing = append(missing, fmt.Sprintf("%s is %s, failed=%t", r.ID, r.Role, r.Failed))
		}
	}
	if err := v.Failed(); err != nil {
		missing = append(missing, err.Error())
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// Failed is an error that lists the failed actions.
func (v View) Failed() error {
	var all []string
	for _, f := range v.Failures {
		all = append(all, fmt.Sprintf("%s on %s: %s (%s)", f.Op, f.Node, f.Status, f.Reason))
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New("failed actions: " + strings.Join(all, ", "))
}

// crm runs a tool of Pacemaker on the first host that is running.
func (c *Cluster) crm(ctx context.Context, argv ...string) error {
	for _, h := range c.Hosts() {
		if h.Running() && !h.Frozen() {
			_, err := h.Run(ctx, argv...)
			return err
		}
	}
	return fmt.Errorf("cannot run %s: no host is running", argv[0])
}

// Move orders the promoted role onto a host. The constraint stays until Clear.
func (c *Cluster) Move(ctx context.Context, to *lab.Host) error {
	return c.crm(ctx, "crm_resource", "--resource", Clone, "--move", "--promoted", "--node", to.Name())
}

// Clear takes back the constraints of every Move.
func (c *Cluster) Clear(ctx context.Context) error {
	return c.crm(ctx, "crm_resource", "--resource", Clone, "--clear")
}

// Standby takes a host out of the cluster's service, or back in. (For a host that is off, "crm node online" does nothing and
// reports success: crmsh goes by how crm_mon shows the node.)
func (c *Cluster) Standby(ctx context.Context, h *lab.Host, on bool) error {
	value := "off"
	if on {
		value = "on"
	}
	return c.crm(ctx, "crm_attribute", "--node="+h.Name(), "--name=standby", "--update="+value, "--lifetime=forever")
}

// Maintenance makes Pacemaker only watch, or takes that back.
func (c *Cluster) Maintenance(ctx context.Context, on bool) error {
	return c.crm(ctx, "crm_attribute", "--type=crm_config", "--name=maintenance-mode", fmt.Sprintf("--update=%t", on))
}

// PreferPrimary lets the primary's host win when hosts shoot each other: fencing the one with the higher priority is delayed,
// and a promoted instance has more than another.
func (c *Cluster) PreferPrimary(ctx context.Context, delay time.Duration) error {
	return errors.Join(
		c.crm(ctx, "crm_resource", "--resource", Clone, "--meta", "--set-parameter", "priority", "--parameter-value", "10"),
		c.crm(ctx, "crm_attribute", "--type=crm_config", "--name=priority-fencing-delay", fmt.Sprintf("--update=%dms", delay.Milliseconds())))
}

// AwaitMembers returns when every host is a member of the cluster.
func (c *Cluster) AwaitMembers(ctx context.Context) error {
	return Await(ctx, "all hosts as members", func(ctx context.Context) error {
		view, err := c.View(ctx)
		if err != nil {
			return err
		}
		return view.members()
	})
}

func (v View) members() error {
	for _, n := range v.Nodes {
		if !n.Online || n.Pending || n.Unclean {
			return fmt.Errorf("%s is online=%t pending=%t unclean=%t", n.Name, n.Online, n.Pending, n.Unclean)
		}
	}
	return nil
}

// Whole says what is missing to a cluster with all its members, a primary that has the virtual address and a standby in sync.
// Actions that have failed are no matter.
func (c *Cluster) Whole(ctx context.Context) error {
	view, err := c.View(ctx)
	if err != nil {
		return err
	}
	if err := view.members(); err != nil {
		return err
	}
	return c.serves(ctx, view)
}

// SetParameter changes a parameter of the database.
func (c *Cluster) SetParameter(ctx context.Context, name, value string) error {
	return c.crm(ctx, "crm_resource", "--resource", Resource, "--set-parameter", name, "--parameter-value", value)
}

// SetTarget orders the database, all instances of it, to be Started or Stopped.
func (c *Cluster) SetTarget(ctx context.Context, role string) error {
	return c.crm(ctx, "crm_resource", "--resource", Clone, "--meta", "--set-parameter", "target-role", "--parameter-value", role)
}
