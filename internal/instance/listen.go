package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
)

// listening is the administrator's listen_addresses.
type listening struct {
	text  string
	where string // file and line, "" where no file has it: then PostgreSQL listens everywhere
}

func readListening(files pg.ConfFiles) listening {
	value, set := files.Values["listen_addresses"]
	if !set {
		return listening{text: "*"}
	}
	return listening{value.Text, fmt.Sprintf("%s, line %d", value.File, value.Line)}
}

// entries are the names and addresses of the list (SplitGUCList of varlena.c).
func (l listening) entries() (all []string) {
	for entry := range strings.SplitSeq(l.text, ",") {
		if entry = strings.Trim(strings.TrimSpace(entry), `"`); entry != "" {
			all = append(all, entry)
		}
	}
	return all
}

// host is what a host needs of its network.
type host struct {
	look     lookup
	rings    []string                 // this node's addresses in Corosync
	nonlocal func(ip netip.Addr) bool // a server can listen on an address that is not here
}

// CheckListen complains about a listen_addresses in files with which a peer or the clients could not reach
// this host's server. A host without peers needs the virtual address alone.
func CheckListen(ctx context.Context, i config.Instance, files pg.ConfFiles, peers bool) error {
	rings, err := cluster.RingAddresses(cluster.CorosyncConf)
	if err != nil {
		rings = nil // without Corosync's file the names are all there is
	}
	ctx, cancel := context.WithTimeout(ctx, resolve)
	defer cancel()
	return readListening(files).check(ctx, i, peers, host{net.DefaultResolver.LookupNetIP, rings[i.Node], bindsNonlocal})
}

// NextListen says for the status what the next start will do about a listen_addresses by which nobody would
// reach the server; "" where the value is right.
func NextListen(ctx context.Context, i config.Instance, peers bool) string {
	err := CheckListen(ctx, i, filesInForce(i), peers)
	switch {
	case err == nil:
		return ""
	case goodListen(ctx, i, peers):
		return "the next start of this host will use an earlier listen_addresses: " + err.Error()
	}
	return "the next start of this host will be refused: " + err.Error()
}

// bySystem says whether the value is one of ALTER SYSTEM.
func (l listening) bySystem(i config.Instance) bool {
	return strings.HasPrefix(l.where, filepath.Join(i.PGData, string(pg.Auto)))
}

// goodListen says whether there is another listen_addresses by which the server would be reached. Where
// ALTER SYSTEM has set the wrong one, that is the value in postgresql.conf; where it stands in
// postgresql.conf, that is the value in the last good copy of the file.
func goodListen(ctx context.Context, i config.Instance, peers bool) bool {
	files, dir := filesInForce(i), config.ConfDir(i.Name)
	if readListening(files).bySystem(i) {
		files.Values = files.Main
		return CheckListen(ctx, i, files, peers) == nil
	}
	return pg.HasAccepted(dir, pg.Conf) && CheckListen(ctx, i, pg.ReadConfCopies(dir, i.PGData, pg.Conf), peers) == nil
}

// settleListen refuses a start after which nobody would reach the server. Where PostgreSQL has run with a
// listen_addresses by which they did, that is used.
func (a *Activation) settleListen(ctx context.Context, peers bool) error {
	standIns, err := ReadStandIns(a.Instance.Name)
	if err != nil {
		return err
	}
	if standIns[pg.Conf].Unreached && CheckListen(ctx, a.Instance, pg.ReadConfFiles(a.Instance.PGData), peers) == nil {
		delete(standIns, pg.Conf)
		return WriteStandIns(a.Instance.Name, standIns)
	}
	why := CheckListen(ctx, a.Instance, filesInForce(a.Instance), peers)
	switch {
	case why == nil:
		return nil
	case !goodListen(ctx, a.Instance, peers):
		return why
	case readListening(filesInForce(a.Instance)).bySystem(a.Instance):
		a.Log.Error("took listen_addresses out of postgresql.auto.conf, where ALTER SYSTEM has set it: " + why.Error())
		_, err := pg.RemoveRecoverySettings(a.Instance.PGData, []string{"listen_addresses"})
		return err
	}
	standIns[pg.Conf] = StandIn{Why: why.Error(), Print: pg.FilePrint(a.Instance.PGData, pg.Conf), Unreached: true}
	a.Log.Error("starting with the last good copy of postgresql.conf: " + why.Error())
	return WriteStandIns(a.Instance.Name, standIns)
}

func (l listening) check(ctx context.Context, i config.Instance, peers bool, h host) error {
	if l.where == "" {
		return nil
	}
	if missing := h.unreached(ctx, i, l); peers && missing != "" {
		return l.refuse("the other hosts reach this one at %s, where PostgreSQL would not listen: add %s to it, or write '*'", missing, missing)
	}
	if i.VIP == "" || l.covers(ctx, i.VIP, h.look, true) {
		return nil
	}
	if !l.covers(ctx, i.VIP, h.look, false) {
		return l.refuse("clients come to %s (vip), where PostgreSQL would not listen: write '*', or a wildcard such as 0.0.0.0", i.VIP)
	}
	if vip, err := netip.ParseAddr(i.VIP); err == nil && !h.nonlocal(vip) {
		return l.refuse("%s (vip) comes to this host after PostgreSQL's start, which cannot listen on it then: write '*', or set %s to 1", i.VIP, nonlocalSetting(vip))
	}
	return nil
}

func (l listening) refuse(format string, a ...any) error {
	return &Failure{ocf.ErrArgs, fmt.Errorf("listen_addresses (%s): "+format, append([]any{l.where}, a...)...)}
}

// unreached is the address at which the peers reach this host if the server would not listen on it; ""
// where it would, or where nobody can say. One of several addresses is enough, because libpq tries all.
func (h host) unreached(ctx context.Context, i config.Instance, l listening) string {
	var own []string
	for _, name := range append([]string{Address(i, i.Node)}, h.rings...) {
		at, err := addressesOf(ctx, name, h.look)
		if err == nil && !(name == i.Node && allLoopback(at)) { // Debian's 127.0.1.1 is no peer's
			own = at
			break
		}
	}
	for _, ip := range own {
		if l.covers(ctx, ip, h.look, false) {
			return ""
		}
	}
	if len(own) == 0 {
		return ""
	}
	return strings.Join(own, " or ")
}

func allLoopback(addresses []string) bool {
	return !slices.ContainsFunc(addresses, func(text string) bool {
		ip, err := netip.ParseAddr(text)
		return err == nil && !ip.IsLoopback()
	})
}

// covers says whether the server listens on an address; wild counts wildcards alone.
func (l listening) covers(ctx context.Context, address string, look lookup, wild bool) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return true // a name: nobody knows here which address it will have
	}
	ip = ip.WithZone("").Unmap()
	return slices.ContainsFunc(l.entries(), func(entry string) bool {
		switch {
		case entry == "*", entry == "0.0.0.0" && ip.Is4(), entry == "::" && ip.Is6():
			return true
		case wild:
			return false
		}
		at, err := addressesOf(ctx, entry, look)
		return err != nil || slices.Contains(at, ip.String()) // of a name that nobody resolves now, nobody knows
	})
}

// bindsNonlocal reads the kernel's setting (ip(7), ip_nonlocal_bind).
func bindsNonlocal(ip netip.Addr) bool {
	text, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(nonlocalSetting(ip), ".", "/")))
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

func nonlocalSetting(ip netip.Addr) string {
	if ip.Is6() && !ip.Is4In6() {
		return "net.ipv6.ip_nonlocal_bind"
	}
	return "net.ipv4.ip_nonlocal_bind"
}

// portFree says whether PostgreSQL can listen where it is to. An address that is not here is no obstacle,
// because PostgreSQL starts without it.
func portFree(i config.Instance) error {
	for _, entry := range readListening(filesInForce(i)).entries() {
		network := "tcp"
		switch entry {
		case "*":
			entry = ""
		case "0.0.0.0":
			network = "tcp4"
		case "::":
			network = "tcp6"
		}
		listener, err := net.Listen(network, net.JoinHostPort(entry, strconv.Itoa(i.Port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("cannot listen on port %d%s: %w: another server uses it", i.Port, at(entry), errors.Unwrap(err))
		}
		if err != nil {
			continue // PostgreSQL's log says which of its addresses it could not use
		}
		if err := listener.Close(); err != nil {
			return err
		}
	}
	return nil
}

func at(entry string) string {
	if entry == "" {
		return ""
	}
	return " of " + entry
}
