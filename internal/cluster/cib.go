package cluster

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// cib is the part of the cluster information base that we read; see
// "Cluster Information Base" in Pacemaker Explained.
type cib struct {
	XMLName    xml.Name       `xml:"cib"`
	AdminEpoch int            `xml:"admin_epoch,attr"`
	HaveQuorum string         `xml:"have-quorum,attr"`
	DC         string         `xml:"dc-uuid,attr"`
	Properties []attributeSet `xml:"configuration>crm_config>cluster_property_set"`
	Nodes      []node         `xml:"configuration>nodes>node"`
	Resources  resources      `xml:"configuration>resources"`
	States     []nodeState    `xml:"status>node_state"`
}

// attributeSet is a set of name-value pairs, read and written.
type attributeSet struct {
	ID    string   `xml:"id,attr"`
	Pairs []nvpair `xml:"nvpair"`
}

type nvpair struct {
	ID    string `xml:"id,attr"`
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type node struct {
	ID         string         `xml:"id,attr"`
	Name       string         `xml:"uname,attr,omitempty"`
	Type       string         `xml:"type,attr,omitempty"`
	Attributes []attributeSet `xml:"instance_attributes"`
}

// resources is a list of resources at any depth: a clone holds a primitive or
// a group of them. Pacemaker before 3.0 had master elements beside clones.
type resources struct {
	Primitives []primitive `xml:"primitive"`
	Templates  []primitive `xml:"template"`
	Groups     []resources `xml:"group"`
	Clones     []resources `xml:"clone"`
	Masters    []resources `xml:"master"`
}

type primitive struct {
	ID       string         `xml:"id,attr"`
	Class    string         `xml:"class,attr"`
	Type     string         `xml:"type,attr"`
	Template string         `xml:"template,attr"`
	Params   []attributeSet `xml:"instance_attributes"`
	Meta     []attributeSet `xml:"meta_attributes"`
}

// readCIB fetches the whole CIB in one call: asking for its parts costs a
// process each and they would not be of the same moment.
func (c *Client) readCIB(ctx context.Context) (*cib, error) {
	out, err := c.run(ctx, nil, "cibadmin", "--query")
	if err != nil {
		return nil, err
	}
	return parseCIB(out)
}

func parseCIB(text []byte) (*cib, error) {
	var parsed cib
	if err := xml.Unmarshal(text, &parsed); err != nil {
		return nil, fmt.Errorf("cannot parse what cibadmin printed: %w", err)
	}
	// Pacemaker lets this set win over all others ("Cluster Options" in
	// Pacemaker Explained).
	first := slices.IndexFunc(parsed.Properties, func(s attributeSet) bool { return s.ID == bootstrapSet })
	if first > 0 {
		parsed.Properties = slices.Concat(parsed.Properties[first:first+1], parsed.Properties)
	}
	return &parsed, nil
}

// all walks the resources at every depth.
func (r resources) all() []primitive {
	found := slices.Clone(r.Primitives)
	for _, inner := range slices.Concat(r.Groups, r.Clones, r.Masters) {
		found = append(found, inner.all()...)
	}
	return found
}

// primitives lists the primitives with what they inherit from their template.
func (c *cib) primitives() []primitive {
	found := c.Resources.all()
	for i, p := range found {
		at := slices.IndexFunc(c.Resources.Templates, func(t primitive) bool { return t.ID == p.Template })
		if p.Template == "" || at < 0 {
			continue
		}
		t := c.Resources.Templates[at]
		found[i].Class, found[i].Type = t.Class, t.Type
		found[i].Params = slices.Concat(p.Params, t.Params)
		found[i].Meta = slices.Concat(p.Meta, t.Meta)
	}
	return found
}

// defaultInstance is the default of the parameter container_name.
const defaultInstance = "postgres-ha"

// informed is the client with the id of the instance's resource where it was
// not told. A resource that does not state its instance has the default one,
// of which there is at most one.
func (c *Client) informed(cib *cib) *Client {
	found := *c
	if c.Resource != "" {
		return &found
	}
	for _, p := range cib.primitives() {
		if p.Class != "ocf" || p.Type != "pgtwin" {
			continue
		}
		name, stated := lookup(p.Params, "container_name")
		if name == c.Instance || !stated && c.Instance == defaultInstance {
			found.Resource = p.ID
		}
	}
	return &found
}

// lookup returns the value of name in the first set that has it.
func lookup(sets []attributeSet, name string) (value string, ok bool) {
	for _, set := range sets {
		for _, pair := range set.Pairs {
			if pair.Name == name {
				return pair.Value, true
			}
		}
	}
	return "", false
}

// option reads a cluster option by the first of its names that is set, or the
// default: some got a new name and keep the old one as an alias.
func (c *cib) option(fallback string, names ...string) string {
	for _, name := range names {
		if value, ok := lookup(c.Properties, name); ok {
			return value
		}
	}
	return fallback
}

// isTrue reads a truth value as Pacemaker does ("Boolean" under "Value types"
// in Pacemaker Explained).
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return true
	}
	return false
}
