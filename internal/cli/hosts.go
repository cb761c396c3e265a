package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// hosts describes the instance on every host that is known to have or to be
// able to have one, in the cluster's order.
func (f *facts) hosts() []Host {
	hosts := []Host{}
	for _, name := range f.hostNames() {
		h := Host{Name: name, Here: name == f.here, Role: ha.Unknown, State: "unknown"}
		if h.Here {
			f.describeHere(&h)
		} else {
			f.describeThere(&h)
		}
		if m := f.member(name); m != nil {
			if m.Scored {
				h.Score = &m.Score
			}
			f.describeRecord(&h, *m)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func (f *facts) hostNames() []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var listed []string // node_list; without one every node of the cluster
	if f.instance != nil {
		listed = f.instance.Nodes
	}
	if f.view != nil && (f.kept || f.view.Epoch.Number > 0) {
		for _, m := range f.view.Nodes {
			if len(listed) == 0 || slices.Contains(listed, m.Node) {
				add(m.Node)
			}
		}
	}
	for _, name := range listed {
		add(name)
	}
	if f.state != nil {
		add(f.state.Upstream)
		for _, s := range f.state.Standbys {
			add(s.Node)
		}
	}
	if f.kept {
		add(f.here)
	}
	if f.view == nil {
		slices.Sort(names)
	}
	return names
}

// describeHere takes the supervisor's word, where it is of now. An old one is
// shown as such, unless systemd knows better.
func (f *facts) describeHere(h *Host) {
	if st := f.fresh(); st != nil {
		describeState(h, *st)
		if st.Role == ha.Standby && st.Receiving && f.instance != nil {
			h.Slot = config.SlotFor(*f.instance, h.Name)
		}
		return
	}
	if f.state != nil {
		describeState(h, *f.state)
		h.State += ", " + ago(f.age())
		h.Role = ha.Unknown
	}
	switch r := f.resource(h.Name); {
	case f.database != nil && f.database.Stopped():
		*h = Host{Name: h.Name, Here: true, Role: ha.Down, State: "stopped"}
		if f.database.ActiveState == "failed" {
			h.State, h.Detail = "failed", "unit "+f.database.String()
		}
	case f.database != nil && f.database.ActiveState != "active":
		h.Role, h.State, h.Detail = ha.Down, f.database.ActiveState, f.database.StatusText
	case r != nil:
		h.Role = roleOf(r.Role)
		if f.state == nil {
			h.State = pacemakerState(*r)
		}
	}
}

func describeState(h *Host, st control.State) {
	h.Role, h.State, h.Detail = st.Role, stateOf(st), st.Detail
	h.Timeline, h.LSN = st.Timeline, st.LSN
	if st.Score != 0 {
		h.Score = &st.Score
	}
	if p := st.Progress; p != nil {
		h.Progress = &Progress{p.Done, p.Total, p.Rate, p.Left().Seconds(), p.Since}
	}
	if st.Role == ha.Standby {
		h.LagBytes, h.LagSeconds = &st.LagBytes, st.LagSeconds
	}
}

// stateOf is what PostgreSQL or the activation is doing, in a word or two.
func stateOf(st control.State) string {
	switch st.Role {
	case ha.Primary:
		return "running"
	case ha.Standby:
		if st.Receiving {
			return "streaming"
		}
		return "not receiving"
	case ha.Unknown:
		return "no answer"
	}
	if st.Phase == control.PhaseRunning {
		return "ended"
	}
	if p := st.Progress; p != nil && p.Total > 0 {
		return fmt.Sprintf("%s %d%%", st.Phase, p.Percent())
	}
	return string(st.Phase)
}

// describeThere describes another host: from Pacemaker what runs there, from
// its own summary what that is doing, from the supervisor of this host who is
// connected.
func (f *facts) describeThere(h *Host) {
	if r := f.resource(h.Name); r != nil {
		h.Role, h.State = roleOf(r.Role), pacemakerState(*r)
		if s, ok := f.summary(h.Name); ok && !outdated(s, *r) {
			describeSummary(h, s)
		}
	} else if f.status != nil && f.resourceID() != "" {
		h.Role, h.State = ha.Down, "stopped"
	}
	if st := f.fresh(); st != nil {
		describePeer(h, *st)
	}
	if m := f.member(h.Name); m != nil && !m.Online {
		h.Role, h.State = ha.Down, "offline"
		if m.Unclean {
			h.Role, h.State = ha.Unknown, "UNCLEAN"
		}
	}
	if e := f.epoch(); e != nil && e.Node == h.Name && h.Role == ha.Primary {
		h.Timeline = e.Timeline
	}
}

// outdated says whether Pacemaker has done something since the summary was
// published, which waits until things have settled and outlives the instance.
func outdated(s control.Summary, r cluster.InstanceStatus) bool {
	role := roleOf(r.Role)
	return r.Failed || role == ha.Down || (role == ha.Primary) != (s.Role == ha.Primary) ||
		r.Pending != "" && r.Pending != "Monitoring"
}

func describeSummary(h *Host, s control.Summary) {
	h.Role, h.State, h.Timeline = s.Role, stateOf(control.State{Role: s.Role, Phase: s.Phase}), s.Timeline
	if s.Role == ha.Standby {
		h.State = "running" // whether it receives anything is for the primary to say
	}
	if s.Role == ha.Down && s.Progress > 0 {
		h.State = fmt.Sprintf("%s %d%%", h.State, s.Progress)
	}
}

// describePeer adds what st knows of the host at the other end of a
// replication.
func describePeer(h *Host, st control.State) {
	if st.Role == ha.Standby && st.Receiving && st.Upstream == h.Name {
		h.Role, h.State, h.Timeline, h.LSN = ha.Primary, "running", st.Timeline, st.UpstreamLSN
	}
	if st.Role != ha.Primary {
		return
	}
	at := slices.IndexFunc(st.Standbys, func(s control.Standby) bool { return s.Node == h.Name })
	if at < 0 {
		if h.Role == ha.Standby {
			h.State = "not connected"
		}
		return
	}
	s := st.Standbys[at]
	h.Role, h.State, h.Timeline, h.LSN, h.LagBytes, h.Sync, h.Slot = ha.Standby, s.State, st.Timeline, s.Flushed, &s.LagBytes, s.Sync, s.Slot
}

// describeRecord says for a standby of which PostgreSQL's own word is not known
// here whether the cluster has it on record.
func (f *facts) describeRecord(h *Host, m ha.Membership) {
	if h.Sync != "" || h.Role == ha.Primary || f.view.Epoch.Number == 0 {
		return
	}
	h.Sync = "behind"
	if m.InSync == f.view.Epoch.Number {
		h.Sync = "in sync"
	}
}

// roleOf translates Pacemaker's role of the resource.
func roleOf(role string) ha.Role {
	switch role {
	case "Promoted":
		return ha.Primary
	case "Unpromoted", "Started":
		return ha.Standby
	case "Stopped":
		return ha.Down
	}
	return ha.Unknown
}

// pacemakerState is what Pacemaker does or has done with the resource on a node.
// A monitor is always about to run; a started standby may be in the middle of a
// clone.
func pacemakerState(r cluster.InstanceStatus) string {
	switch {
	case r.Pending != "" && r.Pending != "Monitoring":
		return strings.ToLower(r.Pending)
	case r.Failed:
		return "failed"
	case roleOf(r.Role) == ha.Primary:
		return "running"
	case roleOf(r.Role) == ha.Standby:
		return "started"
	}
	return strings.ToLower(r.Role)
}

func ago(d time.Duration) string {
	if d < 0 {
		return "by a clock that was ahead"
	}
	return d.Round(time.Second).String() + " ago"
}
