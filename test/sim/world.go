package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"pgtwin/internal/ha"
)

const ms = time.Millisecond

// maxHosts bounds what is kept per host, so that a copy of it is an assignment.
const maxHosts = 4

// Config is the cluster to simulate.
type Config struct {
	Name    string
	Hosts   int
	Mode    ha.Mode
	Fencing bool
	Quorum  int // how many standbys a commit has to be on; 0: all that are complete
}

func (c Config) String() string { return c.Name }

const (
	syncTimeout = 10 * time.Second
	maxLag      = 1 << 20
)

// world is everything there is.
type world struct {
	queue
	rng  *rand.Rand
	cfg  Config
	core core

	hosts       []*host
	ledger      ledger
	cut         [maxHosts]int           // cluster link: how many faults cut the host off
	replCut     [maxHosts][maxHosts]int // replication link between two hosts
	slow        int                     // faults that delay the network
	fenceBroken int
	systems     uint64 // initdb runs so far
	connections int

	tracing bool
	trace   []string
}

func newWorld(cfg Config, c core, seed uint64, tracing bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2)), cfg: cfg, core: c, tracing: tracing}
	for id := range cfg.Hosts {
		h := &host{w: w, id: id, name: fmt.Sprintf("h%d", id+1)}
		h.disk.preferred = nobody
		w.hosts = append(w.hosts, h)
	}
	for _, h := range w.hosts {
		h.boot()
		w.after(0, h.clients)
	}
	w.form(w.all())
	return w
}

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// tracef notes what happens, for a run that is replayed.
func (w *world) tracef(format string, a ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%9.3fs  ", w.now.Seconds())+fmt.Sprintf(format, a...))
	}
}

// alive says whether a host takes part in anything now.
func (h *host) alive() bool { return h.up && h.w.now >= h.thaw }

// reaches says whether the cluster's messages get from one host to another.
func (w *world) reaches(a, b *host) bool {
	return a == b || a.alive() && b.alive() && w.cut[a.id] == 0 && w.cut[b.id] == 0
}

// streams says whether WAL gets from one host to another.
func (w *world) streams(a, b *host) bool {
	return a.alive() && b.alive() && w.replCut[a.id][b.id] == 0
}

// transit is how long a message takes.
func (w *world) transit() time.Duration {
	if w.slow > 0 {
		return w.between(ms, 400*ms)
	}
	return w.between(ms/5, 3*ms)
}

// reshaped is called when a link or a host changes: connections notice, and
// Corosync, each side in its own time.
func (w *world) reshaped() {
	for _, h := range w.hosts {
		for _, other := range w.hosts {
			if h.server != nil && h.server.senders[other.id] != nil {
				h.server.senders[other.id].pump()
			}
		}
		if h.server != nil && h.server.receiver != nil {
			h.server.receiver.pump()
		}
	}
	w.noticeMembership()
	for _, h := range w.hosts {
		if h.ringIntact() {
			h.unblock() // the token goes round again
		}
	}
}

// nodes is a set of hosts.
type nodes uint8

func only(id int) nodes               { return 1 << id }
func (n nodes) has(id int) bool       { return n&only(id) != 0 }
func (n nodes) with(id int) nodes     { return n | only(id) }
func (n nodes) without(o nodes) nodes { return n &^ o }

func (n nodes) count() (c int) {
	for ; n != 0; n &= n - 1 {
		c++
	}
	return c
}

func (w *world) all() nodes { return only(len(w.hosts)) - 1 }

func (w *world) names(n nodes) []string {
	var names []string
	for _, h := range w.hosts {
		if n.has(h.id) {
			names = append(names, h.name)
		}
	}
	return names
}

func (w *world) ids(names []string) (n nodes) {
	for _, name := range names {
		n = n.with(w.id(name))
	}
	return n
}

const nobody = -1

func (w *world) id(name string) int {
	for _, h := range w.hosts {
		if h.name == name {
			return h.id
		}
	}
	return nobody
}
