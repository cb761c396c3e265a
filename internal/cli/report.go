package cli

import (
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// Health is the verdict on an instance, and the exit status of pgtwin status.
type Health int

// The verdicts.
const (
	Healthy  Health = 0 // a primary runs and there is no warning
	Degraded Health = 1 // a primary runs, with warnings
	Down     Health = 2 // no primary, or none is known
)

// MarshalText writes healthy, degraded or down.
func (h Health) MarshalText() ([]byte, error) {
	return []byte([...]string{"healthy", "degraded", "down"}[h]), nil
}

// Report is what pgtwin status shows of one instance. As JSON it is an
// interface: fields are added, but neither renamed nor removed. What is not
// known is null or missing.
type Report struct {
	Instance    string     `json:"instance"`
	Health      Health     `json:"health"` // healthy, degraded or down
	Primary     string     `json:"primary,omitempty"`
	Resource    string     `json:"resource,omitempty"` // of Pacemaker
	Epoch       *Epoch     `json:"epoch"`
	RepMode     string     `json:"rep_mode,omitempty"` // sync, async or strict
	Fencing     *bool      `json:"fencing"`            // the cluster can fence
	Quorum      *bool      `json:"quorum"`             // of this host's part of the cluster
	Maintenance bool       `json:"maintenance"`
	Hosts       []Host     `json:"hosts"`
	Runtime     string     `json:"runtime,omitempty"` // host, podman or docker
	Image       string     `json:"image,omitempty"`   // digest or id
	ImageName   string     `json:"image_name,omitempty"`
	VirtualIP   *VirtualIP `json:"virtual_ip,omitempty"`
	Replaced    []string   `json:"replaced,omitempty"` // copies of this host's data that are kept
	Reported    *time.Time `json:"reported"`           // when the supervisor of this host last did
	Warnings    []string   `json:"warnings"`
	Advice      []string   `json:"advice,omitempty"` // what an administrator should see to, although the cluster is in order
}

// Epoch is the last promotion.
type Epoch struct {
	Number   int         `json:"number"`
	Node     string      `json:"node"`
	Timeline ha.Timeline `json:"timeline"`
}

// VirtualIP is the address that clients use.
type VirtualIP struct {
	Address  string `json:"address"`
	Resource string `json:"resource,omitempty"`
	Node     string `json:"node,omitempty"` // which has it
}

// Host is the instance on one host of the cluster.
type Host struct {
	Name       string      `json:"name"`
	Here       bool        `json:"here"` // the host that pgtwin status runs on
	Role       ha.Role     `json:"role"` // primary, standby, down or unknown
	State      string      `json:"state"`
	Detail     string      `json:"detail,omitempty"` // what is being done, in words
	Timeline   ha.Timeline `json:"timeline,omitempty"`
	LSN        ha.LSN      `json:"lsn,omitzero"`          // written, or received by a standby
	LagBytes   *int64      `json:"lag_bytes,omitempty"`   // not replayed yet
	LagSeconds float64     `json:"lag_seconds,omitempty"` // age of the last transaction replayed
	Sync       string      `json:"sync,omitempty"`
	Slot       string      `json:"slot,omitempty"`
	Score      *int        `json:"score,omitempty"` // -1000000 forbids a promotion
	Progress   *Progress   `json:"progress,omitempty"`
}

// Progress is how far long work has come.
type Progress struct {
	Done  int64     `json:"done_bytes"`
	Total int64     `json:"total_bytes,omitempty"`      // 0: not known
	Rate  int64     `json:"bytes_per_second,omitempty"` // of late; 0: not known
	Left  float64   `json:"seconds_left,omitempty"`     // at this rate; 0: not known
	Since time.Time `json:"since,omitzero"`
}

func (p Progress) amount() string {
	return control.Progress{Done: p.Done, Total: p.Total, Rate: p.Rate}.Amount()
}

// newReport makes a report of what could be learnt.
func newReport(f facts) Report {
	r := Report{Instance: f.name, Hosts: f.hosts(), Maintenance: f.view != nil && f.view.Maintenance}
	r.Primary = primaryOf(r.Hosts)
	if f.view != nil {
		r.Fencing, r.Quorum = &f.view.Fencing, &f.view.Quorate
	}
	if e := f.epoch(); e != nil {
		r.Epoch = &Epoch{e.Number, e.Node, e.Timeline}
	}
	if f.state != nil {
		r.Reported = &f.state.Updated
		r.Runtime, r.Image, r.Replaced = f.state.Runtime, f.state.Image, f.state.Replaced
	}
	r.Resource = f.resourceID()
	if f.instance != nil {
		r.RepMode = f.instance.RepMode
		r.Runtime = orElse(r.Runtime, runtimeOf(f))
		r.VirtualIP = f.virtualIP()
	}
	if f.instance != nil && f.instance.ContainerMode {
		r.ImageName = f.instance.Image
	}
	r.Warnings = f.warnings(r)
	if st := f.fresh(); st != nil {
		r.Advice = st.Advice
	}
	r.Health = r.verdict()
	return r
}

func (r Report) verdict() Health {
	switch {
	case r.Primary == "":
		return Down
	case len(r.Warnings) > 0:
		return Degraded
	}
	return Healthy
}

func primaryOf(hosts []Host) string {
	for _, h := range hosts {
		if h.Role == ha.Primary {
			return h.Name
		}
	}
	return ""
}

// epoch is the last promotion on record, by the cluster or as the supervisor
// last read it. nil: none, or not known.
func (f *facts) epoch() *ha.Epoch {
	if f.view != nil && f.view.Epoch.Number > 0 {
		return &f.view.Epoch
	}
	if f.view == nil && f.state != nil {
		return f.state.Epoch
	}
	return nil
}

func (f *facts) virtualIP() *VirtualIP {
	if f.instance.VIP == "" {
		return nil
	}
	ip := &VirtualIP{Address: f.instance.VIP}
	if f.status != nil {
		ip.Resource, ip.Node = f.status.Holder(ip.Address)
	}
	return ip
}

func runtimeOf(f facts) string {
	if f.instance.ContainerMode {
		return f.instance.Runtime
	}
	return "host"
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// member is a host in the cluster's view, and resource is our resource on it as
// crm_mon has it; nil where nothing is known.
func (f *facts) member(node string) *ha.Membership {
	if f.view == nil {
		return nil
	}
	for i := range f.view.Nodes {
		if f.view.Nodes[i].Node == node {
			return &f.view.Nodes[i]
		}
	}
	return nil
}

// resourceID is the id of Pacemaker's resource, as the instance was started by
// or as the cluster is configured; "" where neither is known.
func (f *facts) resourceID() string {
	switch {
	case f.instance != nil:
		return f.instance.Resource
	case f.status != nil:
		return f.status.Resource
	}
	return ""
}

// summary is what another host has published of itself.
func (f *facts) summary(node string) (s control.Summary, ok bool) {
	if f.status == nil {
		return s, false
	}
	return control.ParseSummary(f.status.Attributes[node][control.SummaryAttribute(f.name)])
}

func (f *facts) resource(node string) *cluster.InstanceStatus {
	if f.status == nil {
		return nil
	}
	for i := range f.status.Instances {
		if f.status.Instances[i].Node == node {
			return &f.status.Instances[i]
		}
	}
	return nil
}
