package cluster

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// CorosyncConf is where corosync.conf(5) is.
const CorosyncConf = "/etc/corosync/corosync.conf"

// corosyncLimit bounds the file, in bytes: it has some hundred for each node.
const corosyncLimit = 1 << 20

// RingAddresses are the addresses of each node on all links of Corosync, which are addresses of its host,
// from a file as corosync.conf(5) describes. A node without a name has its first address as its name.
func RingAddresses(path string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read Corosync's addresses: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, corosyncLimit))
	if err != nil {
		return nil, fmt.Errorf("cannot read Corosync's addresses: %w", err)
	}
	return parseRings(string(text)), nil
}

// parseRings reads the sections nodelist { node { ringX_addr, name } }.
func parseRings(text string) map[string][]string {
	all := map[string][]string{}
	var sections, addresses []string
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch section, opens := strings.CutSuffix(line, "{"); {
		case strings.HasPrefix(line, "#"):
		case opens:
			sections, name, addresses = append(sections, strings.TrimSpace(section)), "", nil
		case line == "}" && len(sections) > 0:
			if slices.Equal(sections, []string{"nodelist", "node"}) && len(addresses) > 0 {
				if name == "" {
					name = addresses[0]
				}
				all[name] = addresses
			}
			sections = sections[:len(sections)-1]
		default:
			key, value, _ := strings.Cut(line, ":")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if key == "name" {
				name = value
			}
			if strings.HasPrefix(key, "ring") && strings.HasSuffix(key, "_addr") && value != "" {
				addresses = append(addresses, value)
			}
		}
	}
	return all
}
