package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pgtwin/internal/ha"
)

// bootstrapSet is the property set that every tool writes cluster properties
// to.
const bootstrapSet = "cib-bootstrap-options"

// behind is what is recorded of a node that may lack acknowledged commits.
const behind = "behind"

// Record is what Write changes; what is not in it stays.
type Record struct {
	Epoch  *ha.Epoch
	InSync map[string]int // node name to the epoch it holds every commit of; 0 = behind
	Rank   int            // of the information base from then on; lower than its own, the change is refused
	Spare  *int           // how many of those may lack a commit, for the view's epoch
}

// Write changes the records in one atomic step: either all of it is in the
// cluster information base afterwards, or nothing. When it returns nil the
// change has been applied on this node, in the order in which every member of
// this partition applies it. Whether the partition may write is the caller's to
// judge: Pacemaker takes the change without quorum too.
//
// A node of r that is not in v is an error.
func (c *Client) Write(ctx context.Context, v View, r Record) error {
	text, err := c.update(v, r)
	if err != nil {
		return fmt.Errorf("cannot record in the cluster information base: %w", err)
	}
	if text == nil {
		return nil
	}
	if _, err := c.run(ctx, text, "cibadmin", "--modify", "--allow-create", "--xml-pipe"); err != nil {
		return fmt.Errorf("cannot record in the cluster information base: %w", err)
	}
	return nil
}

// Knows says whether the copy of the cluster information base on a peer has this
// epoch. A write returns when it is applied here: in the moment of a split it
// may not get any further.
func (c *Client) Knows(ctx context.Context, peer string, epoch ha.Epoch) (bool, error) {
	out, err := c.run(ctx, nil, "cibadmin", "--query", "--node="+peer, "--scope=crm_config")
	if err != nil {
		return false, fmt.Errorf("cannot ask %s for its copy of the records: %w", peer, err)
	}
	var section struct {
		XMLName    xml.Name       `xml:"crm_config"`
		Properties []attributeSet `xml:"cluster_property_set"`
	}
	if err := xml.Unmarshal(out, &section); err != nil {
		return false, fmt.Errorf("cannot parse %s's copy of the records: %w", peer, err)
	}
	text, _ := lookup(section.Properties, c.epochName())
	return text == epoch.String(), nil
}

// cibUpdate holds only what is to change: cibadmin --modify merges it by id.
// It stays within crm_config: a change to the nodes section that does not come
// from Pacemaker's own attribute tools makes the controller hold an election
// (controld_cib.c, do_cib_updated), which delays the failover at hand.
//
// Pacemaker takes the attribute admin_epoch from a modification of the whole
// base ("Configuration Version" in Pacemaker Explained) and refuses one that
// would make it go backwards (cib_perform_op in cib_utils.c).
type cibUpdate struct {
	XMLName    xml.Name     `xml:"cib"`
	AdminEpoch int          `xml:"admin_epoch,attr,omitempty"`
	Properties attributeSet `xml:"configuration>crm_config>cluster_property_set"`
}

// update renders the change, nil if there is none. The ids are those that
// Pacemaker's own tools would use: with any other, the same name would be there
// twice as soon as one of them writes it.
func (c *Client) update(v View, r Record) ([]byte, error) {
	if r.Epoch == nil && len(r.InSync) == 0 && r.Spare == nil && r.Rank == 0 {
		return nil, nil
	}
	u := cibUpdate{AdminEpoch: r.Rank, Properties: attributeSet{ID: bootstrapSet}}
	if r.Epoch != nil {
		u.Properties.set(c.epochName(), r.Epoch.String())
	}
	if r.Spare != nil {
		u.Properties.set(c.spareName(), formatSpare(v.Epoch.Number, *r.Spare))
	}
	written := 0
	for _, m := range v.Nodes {
		if epoch, ok := r.InSync[m.Node]; ok {
			written++
			u.Properties.set(c.inSyncName(m.Node), formatInSync(epoch))
		}
	}
	if written != len(r.InSync) {
		return nil, fmt.Errorf("not all of %d nodes are among the cluster's nodes", len(r.InSync))
	}
	return xml.Marshal(u)
}

func (s *attributeSet) set(name, value string) {
	s.Pairs = append(s.Pairs, nvpair{ID: s.ID + "-" + name, Name: name, Value: value})
}

func formatInSync(epoch int) string {
	if epoch <= 0 {
		return behind
	}
	return strconv.Itoa(epoch)
}

func (c *Client) epochName() string { return "pgtwin-" + c.Instance + "-epoch" }
func (c *Client) inSyncName(node string) string {
	return "pgtwin-" + c.Instance + "-insync-" + node
}

// scoreName is the attribute that holds promotion scores; the prefix has
// outlived the word in Pacemaker's interface.
func (c *Client) scoreName() string { return "master-" + c.Resource }

// SetScore sets a node's promotion score, which lasts until the node leaves
// the cluster. ha.Minus forbids promotion.
func (c *Client) SetScore(ctx context.Context, node string, score int) error {
	// One word, "--update=-1": some versions take a separate "-1" for an option.
	_, err := c.run(ctx, nil, "crm_attribute",
		"--promotion="+c.Resource, "--node="+node, "--update="+formatScore(score))
	if err != nil {
		return fmt.Errorf("cannot set the promotion score of %s on %s to %s: %w", c.Resource, node, formatScore(score), err)
	}
	return nil
}

// ClearScore removes a node's promotion score; that there is none is fine.
func (c *Client) ClearScore(ctx context.Context, node string) error {
	_, err := c.run(ctx, nil, "crm_attribute", "--promotion="+c.Resource, "--node="+node, "--delete")
	if err != nil && !noSuchAttribute(err) {
		return fmt.Errorf("cannot remove the promotion score of %s on %s: %w", c.Resource, node, err)
	}
	return nil
}

// Fail tells Pacemaker that the resource has failed on a node, as a failed
// monitor would.
func (c *Client) Fail(ctx context.Context, node string) error {
	_, err := c.run(ctx, nil, "crm_resource", "--fail", "--resource="+c.Resource, "--node="+node)
	if err != nil {
		return fmt.Errorf("cannot report the failure of %s on %s: %w", c.Resource, node, err)
	}
	return nil
}

// SetAttribute sets a transient attribute of this node, shown by crm_mon and
// gone when the node leaves the cluster. An empty value removes it.
func (c *Client) SetAttribute(ctx context.Context, name, value string) error {
	change := "--update=" + value
	if value == "" {
		change = "--delete"
	}
	_, err := c.run(ctx, nil, "attrd_updater", "--name="+name, "--node="+c.Node, change)
	if err != nil && !(value == "" && noSuchAttribute(err)) {
		return fmt.Errorf("cannot set the node attribute %s on %s: %w", name, c.Node, err)
	}
	return nil
}

func noSuchAttribute(err error) bool {
	var failed *ToolError
	return errors.As(err, &failed) &&
		slices.Contains([]int{exitNoSuchAttribute, exitNoSuchAttributeOld}, failed.Code)
}
