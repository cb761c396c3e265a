package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/ha"
	"pgtwin/internal/units"
)

// warnings says in words what to look after, the most serious first. What the
// supervisor has said already is not said again.
func (f *facts) warnings(r Report) []string {
	all := slices.Concat(
		f.full,
		f.missing(r),
		f.primaries(r),
		f.fromSupervisor(),
		f.fromCluster(),
		f.fromHosts(r.Hosts),
		f.fromAddress(r),
	)
	if all == nil {
		return []string{} // an empty list in JSON, not null
	}
	return all
}

// missing is what could not be learnt.
func (f *facts) missing(r Report) []string {
	var all []string
	switch {
	case !f.kept && r.Epoch == nil:
		return []string{f.unknownName()}
	case f.instance == nil && !f.kept:
		all = append(all, "there is nothing of this instance on this host")
	case f.instance == nil:
		all = append(all, f.notStarted())
	}
	if f.clusterErr != nil {
		all = append(all, sayCluster(f.clusterErr))
	}
	if f.instance != nil && f.fresh() == nil {
		all = append(all, f.silentSupervisor())
	}
	return all
}

func (f *facts) unknownName() string {
	text := "there is no instance of this name on this host"
	if len(f.all) > 0 {
		text += "; there is " + strings.Join(f.all, ", ")
	}
	if f.clusterErr != nil {
		text += " (" + sayCluster(f.clusterErr) + ")"
	}
	return text
}

func (f *facts) notStarted() string {
	if errors.Is(f.instanceErr, fs.ErrNotExist) {
		return "Pacemaker has not started this instance on this host since the boot"
	}
	return f.instanceErr.Error()
}

func sayCluster(err error) string {
	if errors.Is(err, cluster.ErrNotConnected) {
		return "Pacemaker does not run on this host: nothing fails over to or from it (systemctl status pacemaker)"
	}
	return "Pacemaker does not answer: " + err.Error()
}

func (f *facts) silentSupervisor() string {
	unit := units.Supervisor(f.name)
	text := "the supervisor of this host does not answer"
	if f.watcher != nil && f.watcher.ActiveState != "active" {
		text = fmt.Sprintf("the supervisor of this host is not running, its unit is %s", f.watcher)
	}
	if f.state != nil {
		text += "; it last reported " + ago(f.age())
	}
	if errors.Is(f.supervisor, fs.ErrPermission) {
		return text + "; only root may ask it"
	}
	return text + fmt.Sprintf(" (journalctl -u %s)", unit)
}

// primaries says whether there is one primary.
func (f *facts) primaries(r Report) []string {
	if r.Epoch == nil && !f.kept {
		return nil
	}
	var names []string
	uncertain := len(r.Hosts) == 0
	for _, h := range r.Hosts {
		if h.Role == ha.Primary {
			names = append(names, h.Name)
		}
		uncertain = uncertain || h.Role == ha.Unknown
	}
	switch {
	case len(names) > 1:
		return []string{fmt.Sprintf("more than one host seems to be primary: %s; see which one the clients reach before anything else", strings.Join(names, ", "))}
	case len(names) == 1 && r.Epoch != nil && names[0] != r.Epoch.Node:
		return []string{fmt.Sprintf("%s is primary, but the last promotion on record is that of %s", names[0], r.Epoch.Node)}
	case len(names) == 1:
		return nil
	case uncertain || f.clusterErr != nil:
		return []string{"it is not known whether there is a primary"}
	}
	return []string{"there is no primary: the database cannot be written to"}
}

// fromSupervisor is what the supervisor of this host warns of, but for what is
// known better here.
func (f *facts) fromSupervisor() []string {
	st := f.fresh()
	if st == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(st.Warnings), func(w string) bool {
		return f.clusterErr != nil && strings.HasPrefix(w, "Pacemaker does not answer")
	})
}

// fromCluster is what Pacemaker knows to be wrong with our resource.
func (f *facts) fromCluster() []string {
	var all []string
	if f.view != nil && f.fresh() == nil {
		if !f.view.Quorate {
			all = append(all, "this part of the cluster has no quorum")
		}
		if !f.view.Fencing {
			all = append(all, "fencing is not configured: a host that is cut off may go on writing, and what it acknowledges is lost")
		}
	}
	maintenance := f.view != nil && f.view.Maintenance
	if maintenance {
		all = append(all, "maintenance mode: Pacemaker does not act on failures")
	}
	resource := f.resourceID()
	if f.status == nil || resource == "" {
		return all
	}
	for _, i := range f.status.Instances {
		if i.Blocked {
			all = append(all, fmt.Sprintf("Pacemaker has given up on %s%s (crm_resource --cleanup --resource=%s, once the cause is gone)",
				resource, on(i.Node), resource))
		}
		if !i.Managed && !maintenance {
			all = append(all, fmt.Sprintf("%s is unmanaged%s: Pacemaker only watches it", resource, on(i.Node)))
		}
	}
	for _, failure := range f.status.Failures {
		if strings.HasPrefix(failure.Operation, resource+"_") {
			all = append(all, sayFailure(failure))
		}
	}
	return slices.Compact(all)
}

func sayFailure(failure cluster.Failure) string {
	text := fmt.Sprintf("%s failed%s: %s", failure.Operation, on(failure.Node), failure.Exit)
	if failure.Reason != "" {
		text += ", " + failure.Reason
	}
	if failure.When != "" {
		text += " (" + failure.When + ")"
	}
	return text
}

func on(node string) string {
	if node == "" {
		return ""
	}
	return " on " + node
}

// fromHosts is about hosts that hold no database that could be used, and, seen
// from elsewhere than the primary, those that could not take over.
func (f *facts) fromHosts(hosts []Host) []string {
	var all []string
	for _, h := range hosts {
		switch m := f.member(h.Name); {
		case m != nil && m.Unclean:
			all = append(all, h.Name+" is UNCLEAN: it may still be running, and fencing has to confirm that it is not")
		case m != nil && !m.Online:
			all = append(all, h.Name+" is not in the cluster")
		case h.Role == ha.Down && h.State != "unknown":
			all = append(all, fmt.Sprintf("PostgreSQL is not running on %s: %s", h.Name, h.doing(f.now)))
		case h.Sync == "behind" && h.Role == ha.Standby && !h.Here && !f.primaryHere():
			all = append(all, h.Name+" is behind: it cannot take over without losing commits")
		}
	}
	return all
}

// primaryHere says whether the supervisor of the primary has been asked.
func (f *facts) primaryHere() bool {
	st := f.fresh()
	return st != nil && st.Role == ha.Primary
}

// doing is the state with everything that is known of it.
func (h Host) doing(now time.Time) string {
	text := h.State
	if h.Detail != "" {
		text += ", " + h.Detail
	}
	p := h.Progress
	if p == nil {
		return text
	}
	text += ", " + p.amount()
	if !p.Since.IsZero() {
		text += ", " + now.Sub(p.Since).Round(time.Second).String() + " so far"
	}
	return text
}

// fromAddress is about a virtual IP that does not lead to the primary.
func (f *facts) fromAddress(r Report) []string {
	ip := r.VirtualIP
	switch {
	case ip == nil || f.status == nil:
		return nil
	case ip.Resource == "":
		return []string{fmt.Sprintf("no resource of the cluster has the virtual IP %s", ip.Address)}
	case ip.Node == "":
		return []string{fmt.Sprintf("the virtual IP %s is on no host", ip.Address)}
	case r.Primary != "" && ip.Node != r.Primary:
		return []string{fmt.Sprintf("the virtual IP %s is on %s, which is not the primary", ip.Address, ip.Node)}
	}
	return nil
}
