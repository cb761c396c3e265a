package units

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"pgtwin/internal/config"
)

// where drop-ins go: they vanish at reboot, as everything that only Pacemaker
// may start should.
const where = "/run/systemd/system"

// dropIn is the name of our drop-in. Drop-ins of all directories are read in
// the order of their names, so what `systemctl set-property` writes
// (50-MemoryMax.conf) and the administrator's own win over ours.
const dropIn = "10-pgtwin.conf"

// margin is how much longer than its own stop ladder systemd gives the stop.
const margin = 10 * time.Second

// DropIns renders an instance's settings as systemd drop-ins, by path. An empty
// content means that the file must not be there. Nothing is written; see
// Systemd.Install.
func DropIns(i config.Instance) (map[string]string, error) {
	slice, err := sliceDropIn(i.Limits)
	if err != nil {
		return nil, fmt.Errorf("cannot render the limits of %s for systemd: %w", i.Name, err)
	}
	socket, err := socketDropIn(i.HTTPListen)
	if err != nil {
		return nil, fmt.Errorf("cannot render the HTTP address of %s for systemd: %w", i.Name, err)
	}
	return map[string]string{
		dropInOf(Database(i.Name)): databaseDropIn(i),
		dropInOf(Slice(i.Name)):    slice,
		dropInOf(Socket(i.Name)):   socket,
	}, nil
}

func dropInOf(unit string) string { return filepath.Join(where, unit+".d", dropIn) }

func databaseDropIn(i config.Instance) string {
	return section("Service",
		"Slice="+Slice(i.Name),
		fmt.Sprintf("TimeoutStopSec=%d", int((i.StopTimeout+margin).Round(time.Second).Seconds())))
}

// sliceDropIn holds the limits that are set. systemd expands no specifiers in
// them: a '%' is a percent sign.
func sliceDropIn(l config.Limits) (string, error) {
	limits := []struct{ key, value string }{
		{"MemoryMax", l.MemoryMax},
		{"MemoryHigh", l.MemoryHigh},
		{"MemorySwapMax", l.MemorySwapMax},
		{"CPUQuota", l.CPUQuota},
		{"CPUWeight", l.CPUWeight},
		{"IOWeight", l.IOWeight},
		{"TasksMax", l.TasksMax},
	}
	var lines []string
	for _, limit := range limits {
		if limit.value == "" {
			continue
		}
		if err := onOneLine(limit.value); err != nil {
			return "", fmt.Errorf("%s: %w", limit.key, err)
		}
		lines = append(lines, limit.key+"="+limit.value)
	}
	return section("Slice", lines...), nil
}

// socketDropIn adds the TCP address. It may belong to a virtual IP that is on
// another host, hence FreeBind.
func socketDropIn(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if err := onOneLine(address); err != nil {
		return "", err
	}
	listen := port // every address
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", fmt.Errorf("%q is no IP address; systemd takes no names", host)
		}
		listen = net.JoinHostPort(host, port)
	}
	// Specifiers are expanded here: the zone of an IPv6 address comes after '%'.
	return section("Socket", "ListenStream="+strings.ReplaceAll(listen, "%", "%%"), "FreeBind=yes"), nil
}

// section writes one section of a unit file; without lines there is none.
func section(name string, lines ...string) string {
	if len(lines) == 0 {
		return ""
	}
	return "# Written by pgtwin at every start of the resource; changes are lost.\n" +
		"[" + name + "]\n" + strings.Join(lines, "\n") + "\n"
}

// onOneLine refuses what would end the line, or join it with the next.
func onOneLine(value string) error {
	if strings.ContainsFunc(value, unicode.IsControl) || strings.Contains(value, `\`) {
		return fmt.Errorf("%q has a character that a systemd setting cannot hold", value)
	}
	return nil
}
