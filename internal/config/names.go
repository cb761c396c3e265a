package config

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// maxName is the longest name PostgreSQL keeps (NAMEDATALEN - 1); longer ones it
// cuts without an error.
const maxName = 63

// ApplicationNameOf is a node's name in replication: the node's own name, or
// VALUE_NODE with "_" for "-" and "." where application_name is VALUE. The
// parameter has one value for all nodes, but synchronous_standby_names can only
// tell nodes apart whose names differ.
func ApplicationNameOf(i Instance, node string) string {
	if i.ApplicationBase == "" {
		return node
	}
	return i.ApplicationBase + "_" + strings.NewReplacer("-", "_", ".", "_").Replace(node)
}

// SlotFor is the name of the replication slot that is kept for a node:
// slot_name and the node's name, of the characters a-z, 0-9 and "_" that
// PostgreSQL permits. A name that would be too long ends in a checksum of the
// whole instead.
func SlotFor(i Instance, node string) string {
	name := strings.Map(slotCharacter, i.SlotName+"_"+node)
	if len(name) <= maxName {
		return name
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(node)) // never fails
	return fmt.Sprintf("%s_%08x", name[:maxName-9], sum.Sum32())
}

// SlotPrefix is how the names of all slots that are kept for nodes begin.
func SlotPrefix(i Instance) string { return strings.Map(slotCharacter, i.SlotName+"_") }

func slotCharacter(c rune) rune {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		return c
	case 'A' <= c && c <= 'Z':
		return c - 'A' + 'a'
	default:
		return '_'
	}
}

// nameProblems are names in replication that PostgreSQL would cut, or could not
// tell apart: it compares them in synchronous_standby_names without regard to
// case.
func (i Instance) nameProblems() []error {
	nodes := i.Nodes
	if len(nodes) == 0 && i.Node != "" {
		nodes = []string{i.Node}
	}
	var wrong []error
	applications, slots := map[string]string{}, map[string]string{}
	for _, node := range slices.Sorted(slices.Values(nodes)) {
		application := ApplicationNameOf(i, node)
		if len(application) > maxName {
			wrong = append(wrong, fmt.Errorf("application_name: %s is longer than %d characters", application, maxName))
		}
		folded := strings.ToLower(application)
		if other, taken := applications[folded]; taken {
			wrong = append(wrong, fmt.Errorf("node_list: %s and %s have the same name in replication, %s", other, node, application))
		}
		slot := SlotFor(i, node)
		if other, taken := slots[slot]; taken {
			wrong = append(wrong, fmt.Errorf("node_list: %s and %s have the same replication slot, %s", other, node, slot))
		}
		applications[folded], slots[slot] = node, node
	}
	return wrong
}
