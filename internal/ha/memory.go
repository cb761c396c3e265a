package ha

import (
	"slices"
	"time"
)

// Sender is a peer's connection as a primary sees it (pg_stat_replication).
type Sender struct {
	PID       int
	Streaming bool
	Waited    bool // PostgreSQL waits for it: sync_state sync or quorum
	Flushed   LSN
	Replayed  LSN // 0: not known
}

// StallPatience is how long a standby that is connected may flush nothing,
// while there is something to flush, and be taken for streaming.
const StallPatience = 2 * time.Second

// FarewellPatience is how long a standby may take to stop after its farewell.
const FarewellPatience = 15 * time.Second

// Memory is what a primary remembers of its peers from one look to the next.
// The zero value remembers nothing. The times come from the caller, all from
// one clock.
type Memory struct {
	peers map[string]*remembered
}

type remembered struct {
	streamed time.Time // last seen streaming and up to date, or getting on
	flushed  LSN
	grownAt  LSN // end of WAL when commits began to wait for it
	recorded bool
	behind   time.Time // since when it is known to be recorded as behind
	doubtful bool      // that it is behind may not be the last word: no record of ours is above all others
	leaving  int       // pid of the walsender whose standby has released us, -1 if it was gone already; 0: none has
	left     time.Time // when that was noticed
	reached  LSN       // how far its standby had replayed then; 0: not known
}

// of starts a memory with the present: a peer not looked at yet is not lost.
func (m *Memory) of(node string, now time.Time) *remembered {
	if m.peers == nil {
		m.peers = map[string]*remembered{}
	}
	if m.peers[node] == nil {
		// Of what was recorded before nothing is known: an earlier supervisor may have
		// given up a record that is still on its way.
		m.peers[node] = &remembered{streamed: now, doubtful: true}
	}
	return m.peers[node]
}

// Promoted is for a promotion of this host: what was known of the peers is of the
// past, and all of them are recorded as behind.
func (m *Memory) Promoted(now time.Time, peers []Membership) {
	m.peers = nil
	for _, p := range peers {
		m.of(p.Node, now).doubtful = false
	}
}

// Read compares what is recorded of the peers with what was recorded before. A
// record that is gone and that was not taken back here is a standby's own: it
// has declared itself behind and is about to stop.
func (m *Memory) Read(now time.Time, epoch Epoch, peers []Membership, senders map[string]Sender) {
	for _, node := range peers {
		p := m.of(node.Node, now)
		recorded := epoch.Number > 0 && node.InSync == epoch.Number
		if p.recorded && !recorded {
			p.leaving, p.left, p.doubtful = -1, now, true
			if sender, ok := senders[node.Node]; ok {
				p.leaving, p.reached = sender.PID, sender.Replayed
			}
		}
		if recorded {
			p.leaving = 0
		}
		p.recorded = recorded
		p.behindSince(now, !recorded)
	}
}

// Publishing is called before a record is written here, so that the change is
// not taken for the peer's own.
func (m *Memory) Publishing(now time.Time, node string, number int) {
	p := m.of(node, now)
	p.recorded, p.behind, p.doubtful = p.recorded && number > 0, time.Time{}, p.doubtful || number > 0
}

// Published is called when the record is known to be there. Begun after all
// others, it is of a higher rank: what was given up before is refused from now on.
func (m *Memory) Published(now time.Time, node string, number int) {
	p := m.of(node, now)
	p.recorded, p.doubtful = number > 0, false
	p.behindSince(now, number == 0)
}

// standsStill says whether a standby that has declared itself behind, and stays, has replayed nothing
// since although it has more: its replay is held, and complete it would be recorded for nothing.
func (p *remembered) standsStill(sender Sender) bool {
	return p.reached > 0 && sender.Replayed == p.reached && sender.Flushed > sender.Replayed
}

// Unseen is for a look in which a primary could not see its peers: none of them counts as lost for a
// time in which nobody looked.
func (m *Memory) Unseen(now time.Time, peers []Membership) {
	for _, node := range peers {
		m.of(node.Node, now).streamed = now
	}
}

func (p *remembered) behindSince(now time.Time, behind bool) {
	switch {
	case !behind:
		p.behind = time.Time{}
	case p.behind.IsZero():
		p.behind = now
	}
}

// Followers is the primary's view of its peers, and how long it has lasted.
// Written is the end of WAL.
func (m *Memory) Followers(now time.Time, peers []Membership, senders map[string]Sender, required []string, written LSN) []Follower {
	var all []Follower
	for _, node := range peers {
		p := m.of(node.Node, now)
		sender, connected := senders[node.Node]
		// One that is connected and takes nothing in is as good as lost: its receiver
		// hangs, or the network drops what it says (wal_sender_timeout is longer).
		if sender.Streaming && (sender.Flushed > p.flushed || sender.Flushed >= written) {
			p.streamed = now
		}
		p.flushed = sender.Flushed
		switch {
		case !slices.Contains(required, node.Node):
			p.grownAt = 0
		case p.grownAt == 0:
			p.grownAt = written
		}
		f := Follower{
			Node: node.Node, Streaming: sender.Streaming && now.Sub(p.streamed) < StallPatience, Waited: sender.Waited, Flushed: sender.Flushed,
			GrownAt:  p.grownAt,
			LostFor:  now.Sub(p.streamed),
			Doubtful: p.doubtful,
			// Until it comes back on another connection. Where the farewell was noticed
			// after the return, the connection is the new one already.
			Leaving: p.leaving != 0 && (!connected || sender.PID == p.leaving && (now.Sub(p.left) < FarewellPatience || p.standsStill(sender))),
		}
		if !p.behind.IsZero() {
			f.BehindFor = now.Sub(p.behind)
		}
		all = append(all, f)
	}
	return all
}
