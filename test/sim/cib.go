package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// cib is one host's copy of the cluster information base.
type cib struct {
	rank    int // of the latest record; Pacemaker calls it admin_epoch
	version int // counts changes of the configuration; Pacemaker calls it epoch
	epoch   ha.Epoch
	inSync  [maxHosts]int
	spare   allowance

	// what operators configure
	preferred   int // the host that shall be promoted
	standby     nodes
	stopped     bool // target-role
	maintenance bool

	status
}

// allowance is how many of the standbys on record for an epoch may lack a commit.
type allowance struct{ epoch, number int }

// spared is what is on record for the present epoch.
func (c *cib) spared() int {
	if c.spare.epoch != c.epoch.Number {
		return 0
	}
	return c.spare.number
}

// status is the section that is not on disk.
type status struct {
	updates int // changes of the status since the last one of the configuration
	state   [maxHosts]state
	score   [maxHosts]promotionScore
	rsc     [maxHosts]record
	quorate bool
}

// record is what is recorded of the database on a host.
type record struct {
	role   resourceRole
	failed bool
}

// state is what is known of a node.
type state uint8

const (
	unclean state = iota // neither a full member nor confirmed down
	online
	down
)

type promotionScore struct {
	number int
	known  bool
}

// change is an update of the CIB.
type change func(*cib)

// configure is a change of the configuration, such as a record of ours.
func configure(do change) change {
	return func(c *cib) {
		c.version, c.updates = c.version+1, 0
		do(c)
	}
}

// ranked is a change of the records, refused where there are higher ones.
func ranked(rank int, do change, refused func(*cib)) change {
	recorded := configure(do)
	return func(c *cib) {
		if rank < c.rank {
			refused(c)
			return
		}
		c.rank = rank
		recorded(c)
	}
}

// newer says which of two copies everybody takes over when hosts meet.
func (c *cib) newer(than *cib) bool {
	if c.rank != than.rank {
		return c.rank > than.rank
	}
	if c.version != than.version {
		return c.version > than.version
	}
	if c.quorate != than.quorate { // it has been running, and counts more changes of the status
		return c.quorate
	}
	return c.updates > than.updates
}

// write orders a change among those of the partition; done is called when it
// has been applied here. A change that is issued while the hosts have lost
// sight of each other and do not know it yet waits for the new membership.
// One that is on its way when the cut comes may be ordered on one side alone.
func (h *host) write(do change, done func()) {
	intact := h.ringIntact()
	h.after(h.w.between(4*ms, 60*ms), func() {
		if h.ring == nil {
			return
		}
		if !h.ringIntact() && !(intact && h.w.chance(0.5)) {
			h.blocked = append(h.blocked, func() { h.write(do, done) })
			return
		}
		h.order(do, done)
	})
}

// order applies a change on every member in reach, everywhere in the same
// order.
func (h *host) order(do change, done func()) {
	for _, m := range h.w.hosts {
		if !h.ring.members.has(m.id) {
			continue
		}
		if !h.w.reaches(h, m) { // it is sent again, should the ring outlast the cut
			m.missed = append(m.missed, do)
			continue
		}
		delay := time.Duration(0)
		if m != h {
			delay = h.w.between(0, 15*ms)
			if h.w.slow > 0 {
				delay *= 10
			}
		}
		m.delivered = max(h.w.now+delay, m.delivered)
		m.after(m.delivered-h.w.now, func() {
			m.apply(do)
			if m == h && done != nil {
				done()
			}
		})
	}
}

func (h *host) apply(do change) {
	h.cib.updates++
	do(&h.cib)
	h.save()
	h.w.ledger.changed()
}

// save writes the copy to disk, in the background.
func (h *host) save() {
	stored := h.cib
	stored.status = status{}
	if h.saving || stored == h.disk {
		return
	}
	h.saving = true
	h.after(h.w.between(ms, 50*ms), func() {
		h.saving = false
		h.disk = h.cib
		h.disk.status = status{}
	})
}

// setScore tells attrd, which tells the others when it gets to it. It keeps
// the order of one host's changes.
func (h *host) setScore(number int) {
	h.score = promotionScore{number, true}
	value := h.score
	h.scoredAt = max(h.w.now+h.w.between(5*ms, 250*ms), h.scoredAt)
	h.after(h.scoredAt-h.w.now, func() {
		h.post(func(c *cib) { c.score[h.id] = value })
	})
}

// post orders a change of the status section now, or as soon as the membership
// allows it.
func (h *host) post(do change) { h.postWhile(func() bool { return true }, do) }

// postWhile does so unless the change has become void meanwhile.
func (h *host) postWhile(valid func() bool, do change) {
	switch {
	case !valid():
	case h.ringIntact():
		h.order(do, nil)
	default:
		h.blocked = append(h.blocked, func() { h.postWhile(valid, do) })
	}
}

// view is what the tools show of the cluster on this host.
type view struct {
	nodes   []ha.Membership
	quorate bool
	fencing bool
	epoch   ha.Epoch
	rank    int
	spare   int
	maint   bool
}

func (h *host) view() view {
	v := view{quorate: h.cib.quorate, fencing: h.w.cfg.Fencing, epoch: h.cib.epoch, rank: h.cib.rank, spare: h.cib.spared(), maint: h.cib.maintenance}
	v.nodes = make([]ha.Membership, 0, len(h.w.hosts))
	for id, node := range h.w.hosts {
		v.nodes = append(v.nodes, ha.Membership{
			Node: node.name, ID: id + 1, InSync: h.cib.inSync[id],
			Online: h.cib.state[id] == online, Unclean: h.cib.state[id] == unclean,
			Score: h.cib.score[id].number, Scored: h.cib.score[id].known,
		})
	}
	return v
}

// read runs a tool that asks for the view. It takes its time, and what it
// brings may be that old.
func (p *process) read(done func(view, bool)) {
	h := p.h
	if h.mute > 0 || h.ring == nil {
		p.after(4*time.Second, func() { done(view{}, false) })
		return
	}
	v := h.view()
	p.after(h.w.between(8*ms, 60*ms), func() { done(v, true) })
}
