package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/pg"
)

// names is a name service.
func names(all map[string][]string) lookup {
	return func(_ context.Context, _, host string) (ips []netip.Addr, err error) {
		if all[host] == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host}
		}
		for _, ip := range all[host] {
			ips = append(ips, netip.MustParseAddr(ip))
		}
		return ips, nil
	}
}

func TestEveryAddressThatAPeerMayComeFromIsKnown(t *testing.T) {
	i := config.Instance{Name: "db", Node: "h1", Addresses: map[string]string{"h2": "10.9.0.2"}, VIP: "10.0.0.100", ReplicationAddresses: []string{"10.7.0.0/16"}}
	dns := map[string][]string{"h1": {"127.0.1.1"}, "h2": {"10.0.0.2", "fd00::2"}, "ring-h3": {"10.8.0.3"}}
	rings := map[string][]string{"h1": {"10.0.0.1"}, "h2": {"10.0.0.2", "10.5.0.2"}, "h3": {"ring-h3"}}
	nodes := []string{"h1", "h2", "h3", "h4"}
	found := findReach(t.Context(), i, nodes, rings, Reach{}, names(dns))
	want := Reach{Nodes: map[string][]string{"h1": {"10.0.0.1", "127.0.1.1"}, "h2": {"10.0.0.2", "10.5.0.2", "10.9.0.2", "fd00::2"}, "h3": {"10.8.0.3"}, "h4": {"h4"}}}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("%v, want %v", found, want)
	}
	hosts := found.hosts(i)
	for _, host := range []string{"10.5.0.2", "h4", "10.0.0.100", "10.7.0.0/16", "fd00::2"} {
		if !slices.Contains(hosts, host) {
			t.Errorf("%s is missing in %v", host, hosts)
		}
	}
	if again := findReach(t.Context(), i, nodes, nil, found, names(nil)); !reflect.DeepEqual(again.Nodes["h2"], want.Nodes["h2"]) {
		t.Errorf("a name service that fails leaves %v", again.Nodes["h2"])
	}
	if moved := findReach(t.Context(), i, []string{"h2"}, nil, found, names(map[string][]string{"h2": {"10.0.0.22"}})); !reflect.DeepEqual(moved.Nodes, map[string][]string{"h2": {"10.0.0.22", "10.9.0.2"}}) {
		t.Errorf("after a move: %v", moved.Nodes)
	}
	if hosts := (Reach{}).hosts(i); hosts != nil {
		t.Errorf("of no known node: %v", hosts)
	}
}

func TestListenAddressesHaveToReach(t *testing.T) {
	dns := map[string][]string{"h1": {"10.0.0.1", "fd00::1"}, "localhost": {"127.0.0.1", "::1"}, "debian": {"127.0.1.1"}}
	tests := []struct {
		listen, vip, node string
		alone, nonlocal   bool
		rings             []string
		says              string
	}{
		{listen: "", node: "h1", vip: "10.0.0.100"},
		{listen: "'*'", node: "h1", vip: "10.0.0.100"},
		{listen: "'0.0.0.0'", node: "h1", vip: "10.0.0.100"},
		{listen: "'::'", node: "h1", vip: "fd00::100"},
		{listen: "'::'", node: "h1", vip: "10.0.0.100", says: "clients come to 10.0.0.100"},
		{listen: "'10.0.0.1'", node: "h1"},
		{listen: "'fd00::1, localhost'", node: "h1"},
		{listen: "'h1'", node: "h1"},
		{listen: "'localhost'", node: "h1", says: "reach this one at 10.0.0.1"},
		{listen: "''", node: "h1", says: "reach this one at 10.0.0.1"},
		{listen: "'10.0.0.9'", node: "h1", says: "reach this one at 10.0.0.1"},
		{listen: "'10.5.0.1'", node: "unknown", rings: []string{"10.5.0.1"}}, // the network that Corosync uses
		{listen: "'gone.example'", node: "h1"},                               // a name server that is down stops no start
		{listen: "'10.3.0.1'", node: "unknown", rings: []string{"10.5.0.1"}, says: "reach this one at 10.5.0.1"},
		{listen: "'localhost'", node: "h1", alone: true},
		{listen: "'localhost'", node: "h1", alone: true, vip: "10.0.0.100", says: "clients come to 10.0.0.100"},
		{listen: "'10.0.0.1'", node: "h1", vip: "10.0.0.100", says: "clients come to 10.0.0.100"},
		{listen: "'10.0.0.1,10.0.0.100'", node: "h1", vip: "10.0.0.100", says: "net.ipv4.ip_nonlocal_bind"},
		{listen: "'10.0.0.1,10.0.0.100'", node: "h1", vip: "10.0.0.100", nonlocal: true},
		{listen: "'10.0.0.1,*'", node: "h1", vip: "10.0.0.100"},
		{listen: "'10.3.0.1'", node: "debian"}, // nobody knows at which address the peers reach it
		{listen: "'10.3.0.1'", node: "unknown"},
	}
	for _, test := range tests {
		t.Run(test.node+" "+test.listen+" "+test.vip, func(t *testing.T) {
			dir := t.TempDir()
			text := "# listen_addresses = 'localhost'\n"
			if test.listen != "" {
				text += "listen_addresses = " + test.listen + "\n"
			}
			must(t, os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte(text), 0o600))
			i := config.Instance{Node: test.node, PGData: dir, VIP: test.vip}
			h := host{look: names(dns), rings: test.rings, nonlocal: func(netip.Addr) bool { return test.nonlocal }}
			err := readListening(pg.ReadConfFiles(dir)).check(t.Context(), i, !test.alone, h)
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %q", err, test.says)
			}
			var failure *Failure
			if err != nil && (!errors.As(err, &failure) || !strings.Contains(err.Error(), dir+"/postgresql.conf, line 2")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAServerOnAnotherAddressIsNoObstacle(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.2:0")
	must(t, err)
	defer other.Close()
	i := config.Instance{PGData: t.TempDir(), Port: other.Addr().(*net.TCPAddr).Port}
	for listen, free := range map[string]bool{"127.0.0.1": true, "127.0.0.1, 192.0.2.77": true, "127.0.0.1,127.0.0.2": false, "*": false, "0.0.0.0": false} {
		must(t, os.WriteFile(filepath.Join(i.PGData, "postgresql.conf"), fmt.Appendf(nil, "listen_addresses = '%s'\n", listen), 0o600))
		if err := portFree(i); (err == nil) != free {
			t.Errorf("%s: %v", listen, err)
		}
	}
	must(t, os.Remove(filepath.Join(i.PGData, "postgresql.conf")))
	if portFree(i) == nil {
		t.Error("PostgreSQL would listen everywhere")
	}
}
