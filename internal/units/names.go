// Package units is what pgtwin knows of systemd: the names of its units, how
// to start, stop and look at them over D-Bus, the drop-ins that carry an
// instance's settings, and the control groups its processes live in.
//
// It knows nothing of PostgreSQL, and what a unit's state means for the cluster
// is not its business: it reports what it saw, and an error where it saw
// nothing.
package units

import "github.com/coreos/go-systemd/v22/unit"

// Database is the unit of an instance's PostgreSQL server.
func Database(name string) string { return "pgtwin@" + name + ".service" }

// Supervisor is the unit that watches the instance.
func Supervisor(name string) string { return "pgtwin-supervisor@" + name + ".service" }

// Socket is the unit that starts the instance's status service on demand.
func Socket(name string) string { return "pgtwin@" + name + ".socket" }

// StatusServer is the service behind Socket.
func StatusServer(name string) string { return "pgtwin-status@" + name + ".service" }

// Slice is the instance's slice, which holds its limits. The name is escaped:
// systemd reads a '-' in a slice's name as the border of a parent, and instance
// "a-b" would live within the limits of instance "a" (systemd.slice(5)).
func Slice(name string) string { return "pgtwin-" + unit.UnitNameEscape(name) + ".slice" }

// DatabaseGroup is the control group that Database's processes are in, wherever
// they come from. State.ControlGroup does not do for a proof that none is left:
// systemd forgets the group of a unit that has stopped even where it could not
// remove it.
func DatabaseGroup(name string) string {
	return "/pgtwin.slice/" + Slice(name) + "/" + Database(name)
}
