package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Direction is a way packets go, seen from the host.
type Direction string

// The directions in which a host can be cut off.
const (
	Both Direction = "both"
	In   Direction = "in"  // the host hears nothing
	Out  Direction = "out" // the host is not heard
)

// Addresses: the machine itself is a client on the bridge, so tests reach the hosts directly.
const (
	network   = "10.77.0."
	machineIP = network + "1"
	// VirtualIP is an address on the hosts' network that no host owns: for a cluster's own use.
	VirtualIP = network + "100"
)

func hostIP(number int) string { return fmt.Sprintf("%s%d", network, 10+number) }

// mac is fixed for each address, so that neighbours' ARP entries survive a host's restart.
func mac(number int) string { return fmt.Sprintf("02:77:00:00:00:%02x", 10+number) }

func makeBridge(ctx context.Context) error {
	batch := "link add " + bridgeName + " address 02:77:00:00:00:01 type bridge\n" +
		"addr add " + machineIP + "/24 dev " + bridgeName + "\n" +
		"link set " + bridgeName + " up\n"
	if _, err := runInput(ctx, batch, "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("cannot make the bridge: %w", err)
	}
	return nil
}

func (h *Host) link() string { return linkPrefix + h.name }

// plug gives the network namespace of process pid an eth0 whose other end is on the bridge.
func (h *Host) plug(ctx context.Context, pid int) error {
	batch := fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d\n", h.link(), mac(h.number), pid) +
		fmt.Sprintf("link set %s master %s up\n", h.link(), bridgeName)
	if _, err := runInput(ctx, batch, "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("cannot connect %s: %w", h.name, err)
	}
	return nil
}

// pull takes the host off the bridge at once.
func (h *Host) pull(ctx context.Context) error {
	if !linkExists(h.link()) {
		return nil
	}
	_, err := run(ctx, "ip", "link", "set", h.link(), "nomaster", "down")
	return gone(h.link(), err)
}

// unplug removes the host's link for good. With the host's namespace the kernel removes it too, but later.
func (h *Host) unplug(ctx context.Context) error {
	if err := deleteTable(ctx, h.link()); err != nil {
		return err
	}
	return deleteLink(ctx, h.link())
}

// Traffic is what a cut drops: packets that any of these matches (nft(8), expressions) holds for.
type Traffic []string

// Membership is Corosync's traffic.
func Membership() Traffic { return Traffic{"udp dport 5405"} }

// Among is the traffic of the hosts among themselves with a TCP port; clients on the machine are not of it.
func Among(port int) Traffic {
	const hosts = network + "11-" + network + "99"
	match := "ip saddr " + hosts + " ip daddr " + hosts + " tcp "
	return Traffic{fmt.Sprintf("%ssport %d", match, port), fmt.Sprintf("%sdport %d", match, port)}
}

// Cut drops the host's packets in a direction, all of them or those of one kind. It happens outside the host, on the far
// side of its link, which stays up: the host cannot notice but by silence. It replaces an earlier cut and ends with Heal
// or with a power-off.
func (h *Host) Cut(ctx context.Context, d Direction, only ...Traffic) error {
	chains := map[Direction][]string{In: {"egress"}, Out: {"ingress"}, Both: {"egress", "ingress"}}[d]
	if chains == nil {
		return fmt.Errorf("cannot cut %s: no direction %q", h.name, d)
	}
	if !linkExists(h.link()) {
		return fmt.Errorf("cannot cut %s: it has no link, is it running?", h.name)
	}
	// One transaction: there is no moment at which only half of the rules are there.
	rules := fmt.Sprintf("table netdev %s\ndelete table netdev %[1]s\ntable netdev %[1]s {\n", h.link())
	dropped := "policy drop;"
	if len(only) > 0 {
		dropped = "policy accept;"
	}
	for _, traffic := range only {
		for _, match := range traffic {
			dropped += " " + match + " drop;"
		}
	}
	for _, hook := range chains {
		rules += fmt.Sprintf("\tchain %s { type filter hook %[1]s device %q priority 0; %s }\n", hook, h.link(), dropped)
	}
	if _, err := runInput(ctx, rules+"}\n", "nft", "-f", "-"); err != nil {
		return fmt.Errorf("cannot cut %s: %w", h.name, err)
	}
	return nil
}

// Heal ends a cut; it is content when there is none.
func (h *Host) Heal(ctx context.Context) error {
	if err := deleteTable(ctx, h.link()); err != nil {
		return fmt.Errorf("cannot heal %s: %w", h.name, err)
	}
	return nil
}

// deleteTable removes a table whether it exists or not: declaring it first makes the deletion valid.
func deleteTable(ctx context.Context, name string) error {
	_, err := runInput(ctx, fmt.Sprintf("table netdev %s\ndelete table netdev %[1]s\n", name), "nft", "-f", "-")
	return err
}

func deleteLink(ctx context.Context, name string) error {
	if !linkExists(name) {
		return nil
	}
	_, err := run(ctx, "ip", "link", "del", name)
	return gone(name, err)
}

// gone forgives an error about a link that the kernel has meanwhile removed with its namespace.
func gone(link string, err error) error {
	if !linkExists(link) {
		return nil
	}
	return err
}

func linkExists(name string) bool {
	_, err := os.Stat("/sys/class/net/" + name)
	return err == nil
}

// cleanNetwork removes every link, rule and bridge of any lab.
func cleanNetwork(ctx context.Context) error {
	tables, err := run(ctx, "nft", "list", "tables", "netdev")
	if err != nil {
		return err
	}
	for line := range strings.Lines(tables) {
		name := strings.TrimPrefix(strings.TrimSpace(line), "table netdev ")
		if !strings.HasPrefix(name, linkPrefix) {
			continue
		}
		if err := deleteTable(ctx, name); err != nil {
			return err
		}
	}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return fmt.Errorf("cannot list network links: %w", err)
	}
	for _, link := range links {
		if !strings.HasPrefix(link.Name(), linkPrefix) {
			continue
		}
		if err := deleteLink(ctx, link.Name()); err != nil {
			return err
		}
	}
	return nil
}
