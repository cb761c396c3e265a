package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
)

// Reach is from where the hosts of a database come to replicate. It is kept, so that writing the access
// rules waits for no name service.
type Reach struct {
	// Nodes are the addresses of each node, or its name while that does not resolve. None: not known yet.
	Nodes map[string][]string
	TLS   bool // the server has ssl = on, and its peers use it
}

// resolve is how long the names of all nodes may take.
const resolve = 2 * time.Second

// ReadReach reads what WriteReach has written.
func ReadReach(name string) (Reach, error) {
	var r Reach
	err := control.ReadJSON(config.ReachFile(name), &r)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Reach{}, fmt.Errorf("cannot tell from where the peers come: %w", err)
	}
	return r, nil
}

// WriteReach keeps what was found, for Settings.
func WriteReach(name string, r Reach) error {
	if err := control.WriteJSON(config.ReachFile(name), r, 0o644); err != nil {
		return fmt.Errorf("cannot note from where the peers come: %w", err)
	}
	return nil
}

// FindReach resolves the nodes' names anew. known is what was found before: a name service that fails
// takes no address away.
func FindReach(ctx context.Context, i config.Instance, nodes []string, known Reach) Reach {
	ctx, cancel := context.WithTimeout(ctx, resolve)
	defer cancel()
	rings, err := cluster.RingAddresses(cluster.CorosyncConf)
	if err != nil {
		rings = nil // another cluster manager's host, or a test's: the names are all there is
	}
	return findReach(ctx, i, nodes, rings, known, net.DefaultResolver.LookupNetIP)
}

type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

func findReach(ctx context.Context, i config.Instance, nodes []string, rings map[string][]string, known Reach, look lookup) Reach {
	found := Reach{Nodes: map[string][]string{}, TLS: known.TLS}
	for _, node := range slices.Concat(nodes, i.Nodes) {
		if _, done := found.Nodes[node]; done {
			continue
		}
		var addresses []string
		failed := false
		for _, host := range slices.Concat([]string{Address(i, node), node}, rings[node]) {
			at, err := addressesOf(ctx, host, look)
			addresses = append(addresses, at...)
			failed = failed || err != nil
		}
		if failed {
			addresses = append(addresses, known.Nodes[node]...)
		}
		if len(addresses) == 0 {
			addresses = []string{Address(i, node)} // PostgreSQL asks for it when somebody comes
		}
		slices.Sort(addresses)
		found.Nodes[node] = slices.Compact(addresses)
	}
	return found
}

// addressesOf are the IP addresses of a host, which may be one itself.
func addressesOf(ctx context.Context, host string, look lookup) ([]string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{ip.WithZone("").Unmap().String()}, nil
	}
	ips, err := look(ctx, "ip", host)
	var all []string
	for _, ip := range ips {
		all = append(all, ip.WithZone("").Unmap().String())
	}
	return all, err
}

// hosts are from where the replication role may come: every node, the address that moves between them,
// and what the administrator has added. None where no node is known.
func (r Reach) hosts(i config.Instance) []string {
	var all []string
	for _, addresses := range r.Nodes {
		all = append(all, addresses...)
	}
	if len(all) == 0 {
		return nil
	}
	all = append(all, i.ReplicationAddresses...)
	if i.VIP != "" {
		all = append(all, i.VIP)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// settleNetwork finds out who comes from where, and refuses to start where nobody could.
func (a *Activation) settleNetwork() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*resolve)
	defer cancel()
	others := slices.ContainsFunc(slices.Concat(a.nodes, a.Instance.Nodes), func(node string) bool { return node != a.Instance.Node })
	if err := a.settleListen(ctx, others); err != nil {
		return err
	}
	return a.noteReach(ctx)
}

// noteReach finds out from where the peers come, before a start.
func (a *Activation) noteReach(ctx context.Context) error {
	known, err := ReadReach(a.Instance.Name)
	if err != nil {
		a.Log.Warn(err.Error())
	}
	if len(a.nodes) == 0 && len(a.Instance.Nodes) == 0 {
		return nil
	}
	found := FindReach(ctx, a.Instance, a.nodes, known)
	found.TLS = filesInForce(a.Instance).On("ssl")
	return WriteReach(a.Instance.Name, found)
}
