package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgtwin/internal/ha"
)

// View is the cluster as this node's Pacemaker knows it at one moment.
type View struct {
	Nodes   []ha.Membership // the members configured, this node included, by node id
	Quorate bool            // this partition has quorum
	// Fencing is true where fencing is enabled and something is configured
	// that can do it.
	Fencing     bool
	Epoch       ha.Epoch // zero when none is recorded yet
	Rank        int      // of this copy of the information base (ha.RecordRank)
	Spare       int      // how many of those recorded as complete for the epoch may lack a commit
	DC          string   // the designated controller's name, "" while none is elected
	Maintenance bool     // the cluster, or this node, is in maintenance mode
	Tracked     bool     // Pacemaker has the result of an action of the resource on this node
}

// Read looks at the cluster. An epoch that cannot be read is an error, never a
// missing one: a missing epoch allows a new database to be created.
func (c *Client) Read(ctx context.Context) (View, error) {
	cib, err := c.readCIB(ctx)
	if err != nil {
		return View{}, fmt.Errorf("cannot read the cluster information base: %w", err)
	}
	view, err := c.view(cib)
	if err != nil {
		return View{}, fmt.Errorf("cannot make sense of the cluster information base: %w", err)
	}
	return view, nil
}

func (c *Client) view(cib *cib) (View, error) {
	c = c.informed(cib)
	nodes, err := c.memberships(cib)
	if err != nil {
		return View{}, err
	}
	v := View{
		Nodes:       nodes,
		Quorate:     isTrue(cib.HaveQuorum),
		Fencing:     cib.fencing(),
		Rank:        cib.AdminEpoch,
		DC:          cib.nameOf(cib.DC),
		Maintenance: isTrue(cib.option("false", "maintenance-mode")) || c.nodeMaintenance(cib),
		Tracked:     c.tracked(cib),
	}
	if text, ok := lookup(cib.Properties, c.epochName()); ok {
		if v.Epoch, err = ha.ParseEpoch(text); err != nil {
			return View{}, fmt.Errorf("cluster property %s: %w", c.epochName(), err)
		}
	}
	if v.Spare, err = c.spare(cib, v.Epoch.Number); err != nil {
		return View{}, err
	}
	return v, nil
}

// memberships joins what is configured of the nodes with what is known of
// their state.
func (c *Client) memberships(cib *cib) ([]ha.Membership, error) {
	var found []ha.Membership
	self := c.Node == ""
	for _, n := range cib.members() {
		id, err := strconv.Atoi(n.ID)
		if err != nil {
			return nil, fmt.Errorf("node %s has the id %q, which is no Corosync node id", n.Name, n.ID)
		}
		state := cib.stateOf(n.ID)
		m := ha.Membership{Node: n.Name, ID: id, InSync: c.inSync(cib, n.Name)}
		m.Online, m.Unclean = state.judge(c.Resource)
		m.Score, m.Scored = state.score(c.scoreName())
		found = append(found, m)
		self = self || n.Name == c.Node
	}
	if !self {
		return nil, fmt.Errorf("this node, %s, is not among the cluster's nodes", c.Node)
	}
	slices.SortFunc(found, func(a, b ha.Membership) int { return a.ID - b.ID })
	return found, nil
}

// inSync reads the epoch for which a node holds every acknowledged commit.
// Whatever is not a number, "behind" above all, is 0.
func (c *Client) inSync(cib *cib, node string) int {
	text, _ := lookup(cib.Properties, c.inSyncName(node))
	number, err := strconv.Atoi(text)
	if err != nil || number < 0 {
		return 0
	}
	return number
}

func (c *Client) nodeMaintenance(cib *cib) bool {
	for _, n := range cib.Nodes {
		if n.Name == c.Node {
			value, _ := lookup(n.Attributes, "maintenance")
			return isTrue(value)
		}
	}
	return false
}

func (c *Client) tracked(cib *cib) bool {
	for _, n := range cib.Nodes {
		if n.Name == c.Node {
			return cib.stateOf(n.ID).tracked(c.Resource)
		}
	}
	return false
}

// members are the full cluster nodes: neither Pacemaker Remote nodes nor the
// ping nodes of old.
func (c *cib) members() []node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n node) bool {
		return n.Type != "" && n.Type != "member"
	})
}

func (c *cib) nameOf(id string) string {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return ""
}

func (c *cib) stateOf(id string) *nodeState {
	for i := range c.States {
		if c.States[i].ID == id {
			return &c.States[i]
		}
	}
	return nil
}

// fencing says whether Pacemaker would fence, and could. Pacemaker 3.0.2
// renamed stonith-* options to fencing-* and keeps the old names.
func (c *cib) fencing() bool {
	if !isTrue(c.option("true", "fencing-enabled", "stonith-enabled")) {
		return false
	}
	able := func(p primitive) bool {
		role, _ := lookup(p.Meta, "target-role")
		return p.Class == "stonith" && !strings.EqualFold(role, "Stopped")
	}
	return slices.ContainsFunc(c.primitives(), able) || c.watchdogFencing()
}

// watchdogFencing is SBD without a disk: no fencing resource is configured,
// and a lost node ends itself ("Watchdog" in Pacemaker Explained, Fencing).
func (c *cib) watchdogFencing() bool {
	timeout := c.option("0", "fencing-watchdog-timeout", "stonith-watchdog-timeout")
	return isTrue(c.option("false", "have-watchdog")) && strings.TrimRight(timeout, "ms ") != "0" && timeout != ""
}
