package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Status is the cluster as an administrator wants to see it: for display, not
// for decisions.
type Status struct {
	DC          string
	Quorate     bool
	Fencing     bool // fencing is enabled; View.Fencing says whether it is possible too
	Maintenance bool
	Nodes       []NodeStatus
	Instances   []InstanceStatus // of our resource, one per node it runs on, or a stopped one
	Failures    []Failure        // of all resources
	Addresses   []Address        // every IPaddr2 resource
	Resource    string           // id of our resource, as given or as found by its instance; "" if there is none
	// Attributes are the transient and the permanent attributes of the nodes:
	// node name to attribute name to value.
	Attributes map[string]map[string]string
}

// NodeStatus is a cluster node.
type NodeStatus struct {
	Name                                                 string
	Online, Unclean, Pending, Standby, Maintenance, IsDC bool
}

// InstanceStatus is our resource on one node.
type InstanceStatus struct {
	Node    string // "" for an instance that runs nowhere
	Role    string // Promoted, Unpromoted, Stopped, Starting, Stopping, ...
	Failed  bool
	Blocked bool   // Pacemaker gave up and waits for the administrator
	Managed bool   // false: Pacemaker only watches
	Pending string // the action in progress, "" if none
}

// Failure is an operation that failed and has not been cleaned up.
type Failure struct {
	Operation string // for example postgres_monitor_3000
	Node      string
	Exit      string // the exit status in words
	Reason    string // what the agent said
	When      string // as crm_mon writes it
}

// Address is a virtual address and where it is.
type Address struct {
	Resource string
	IP       string
	Node     string // "" while it is nowhere
}

// Holder finds the resource that manages the address ip and the node that has
// it; both are "" where there is none.
func (s Status) Holder(ip string) (resource, node string) {
	for _, a := range s.Addresses {
		if a.IP == ip {
			return a.Resource, a.Node
		}
	}
	return "", ""
}

// Status asks crm_mon for the state of things and the cluster information
// base for the addresses, which crm_mon does not know. Roles have today's names
// (Promoted, Unpromoted) whatever Pacemaker calls them.
func (c *Client) Status(ctx context.Context) (Status, error) {
	out, err := c.run(ctx, nil, "crm_mon", "--one-shot", "--inactive", "--output-as=xml")
	if err != nil {
		return Status{}, fmt.Errorf("cannot ask for the cluster's status: %w", explain(err, out))
	}
	cib, err := c.readCIB(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("cannot ask for the cluster's addresses: %w", err)
	}
	return c.status(out, cib)
}

// explain adds what crm_mon said, which it prints as XML on standard output.
func explain(err error, out []byte) error {
	var failed *ToolError
	if !errors.As(err, &failed) || failed.Detail != "" {
		return err
	}
	var answer struct {
		Errors []string `xml:"status>errors>error"`
	}
	if xml.Unmarshal(out, &answer) == nil && len(answer.Errors) > 0 {
		failed.Detail = answer.Errors[len(answer.Errors)-1]
	}
	return failed
}

// crmMon is the XML of crm_mon (crm_mon-2.*.rng among Pacemaker's API
// schemas). The root element is not named: it is pacemaker-result, or crm_mon
// in builds for compatibility with 2.0.
type crmMon struct {
	DC struct {
		Name   string `xml:"name,attr"`
		Quorum string `xml:"with_quorum,attr"`
	} `xml:"summary>current_dc"`
	Options struct {
		Stonith     string `xml:"stonith-enabled,attr"`
		Fencing     string `xml:"fencing-enabled,attr"`
		Maintenance string `xml:"maintenance-mode,attr"`
	} `xml:"summary>cluster_options"`
	Nodes []struct {
		Name        string `xml:"name,attr"`
		Online      bool   `xml:"online,attr"`
		Unclean     bool   `xml:"unclean,attr"`
		Pending     bool   `xml:"pending,attr"`
		Standby     bool   `xml:"standby,attr"`
		Maintenance bool   `xml:"maintenance,attr"`
		IsDC        bool   `xml:"is_dc,attr"`
	} `xml:"nodes>node"`
	Resources  monResources `xml:"resources"`
	Attributes []struct {
		Node  string `xml:"name,attr"`
		Pairs []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"attribute"`
	} `xml:"node_attributes>node"`
	Failures []struct {
		Operation string `xml:"op_key,attr"`
		ID        string `xml:"id,attr"` // instead of op_key where the key is not known
		Node      string `xml:"node,attr"`
		Exit      string `xml:"exitstatus,attr"`
		Reason    string `xml:"exitreason,attr"`
		When      string `xml:"last-rc-change,attr"`
	} `xml:"failures>failure"`
}

type monResources struct {
	Resources []monResource  `xml:"resource"`
	Clones    []monResources `xml:"clone"`
	Groups    []monResources `xml:"group"`
}

type monResource struct {
	ID      string `xml:"id,attr"`
	Role    string `xml:"role,attr"`
	Failed  bool   `xml:"failed,attr"`
	Blocked bool   `xml:"blocked,attr"`
	Managed bool   `xml:"managed,attr"`
	Pending string `xml:"pending,attr"`
	Nodes   []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

func (r monResources) all() []monResource {
	found := slices.Clone(r.Resources)
	for _, inner := range slices.Concat(r.Clones, r.Groups) {
		found = append(found, inner.all()...)
	}
	return found
}

func (c *Client) status(text []byte, cib *cib) (Status, error) {
	var mon crmMon
	if err := xml.Unmarshal(text, &mon); err != nil {
		return Status{}, fmt.Errorf("cannot parse what crm_mon printed: %w", err)
	}
	c = c.informed(cib)
	s := Status{
		Resource:    c.Resource,
		DC:          mon.DC.Name,
		Quorate:     isTrue(mon.DC.Quorum),
		Fencing:     isTrue(mon.Options.Fencing) || isTrue(mon.Options.Stonith),
		Maintenance: isTrue(mon.Options.Maintenance),
		Instances:   c.instances(mon.Resources.all()),
		Addresses:   addresses(cib, mon.Resources.all()),
		Attributes:  map[string]map[string]string{},
	}
	for _, n := range mon.Attributes {
		s.Attributes[n.Node] = map[string]string{}
		for _, pair := range n.Pairs {
			s.Attributes[n.Node][pair.Name] = pair.Value
		}
	}
	for _, n := range mon.Nodes {
		s.Nodes = append(s.Nodes, NodeStatus(n))
	}
	for _, f := range mon.Failures {
		s.Failures = append(s.Failures, Failure{Operation: f.Operation + f.ID, Node: f.Node, Exit: f.Exit, Reason: f.Reason, When: f.When})
	}
	return s, nil
}

func (c *Client) instances(all []monResource) []InstanceStatus {
	var found []InstanceStatus
	for _, r := range all {
		if id, _, _ := strings.Cut(r.ID, ":"); id != c.Resource {
			continue
		}
		i := InstanceStatus{Role: roleName(r.Role), Failed: r.Failed, Blocked: r.Blocked, Managed: r.Managed, Pending: r.Pending}
		for _, n := range r.Nodes {
			i.Node = n.Name
			found = append(found, i)
		}
		if len(r.Nodes) == 0 {
			found = append(found, i)
		}
	}
	return found
}

func roleName(role string) string {
	switch role {
	case "Master":
		return "Promoted"
	case "Slave":
		return "Unpromoted"
	}
	return role
}

func addresses(cib *cib, running []monResource) []Address {
	var found []Address
	for _, p := range cib.primitives() {
		ip, ok := lookup(p.Params, "ip")
		if !ok || p.Type != "IPaddr2" {
			continue
		}
		a := Address{Resource: p.ID, IP: ip}
		at := slices.IndexFunc(running, func(r monResource) bool { return r.ID == p.ID && len(r.Nodes) > 0 })
		if at >= 0 {
			a.Node = running[at].Nodes[0].Name
		}
		found = append(found, a)
	}
	return found
}
