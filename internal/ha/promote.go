package ha

import (
	"fmt"
	"slices"
)

// Candidate is what is known when a node is to be promoted.
type Candidate struct {
	Self    Membership
	Peers   []Membership
	Quorate bool
	Fencing bool
	Epoch   Epoch
	Known   Epoch // the latest that this host has seen
	Spare   int   // how many of those recorded as complete may lack a commit, see quorum.go

	Role     Role
	Held     string // standby: why its replay stands still, where a promotion would not lift that; "": it does not
	Unsound  bool   // a rewind or clone of the data directory was not finished
	System   uint64
	History  History // of the timeline that this server is on
	Replayed LSN     // how far this server has replayed
	Received LSN     // how far it has WAL, as far as it knows
	// Positions are the peers' ends of WAL. What is not known is not in it.
	Positions map[string]LSN
	Founder   bool // while nothing is recorded: the data were a primary's when they were taken over
	Force     bool // the administrator accepts what is lost
}

// Verdict is an answer with its reason.
type Verdict struct {
	OK  bool
	Why string
}

func yes(format string, a ...any) Verdict { return Verdict{true, fmt.Sprintf(format, a...)} }
func no(format string, a ...any) Verdict  { return Verdict{false, fmt.Sprintf(format, a...)} }

// Promotable says whether the candidate may become primary. The rules are
// tried in order, each stands for an accident that it prevents.
func Promotable(c Candidate) Verdict {
	if c.Role == Primary {
		return yes("already primary")
	}
	// A half-rewound directory starts, and answers queries with a mixture of
	// two histories.
	if c.Unsound {
		return no("a rewind or clone of the data directory was not finished")
	}
	// A promotion ends recovery where the replay stands, or PostgreSQL ends with it: what was received
	// and acknowledged behind that point would be lost. Force does not change what PostgreSQL does.
	if c.Held != "" {
		return no("the replay is held: %s", c.Held)
	}
	// The other partition may be promoting, too.
	if !c.Quorate {
		return no("this part of the cluster has no quorum")
	}
	for _, p := range c.Peers {
		// An unclean peer may still be acknowledging writes.
		if p.Unclean && c.Fencing {
			return no("%s may be running: it is neither a member nor fenced", p.Node)
		}
	}
	// The information base of a host that was cut off can replace the others' when
	// it comes back, and with it the record of what happened meanwhile.
	if c.Known.Number > c.Epoch.Number && !c.Force {
		return no("the record of the promotion of %s (epoch %d) is lost: start that host, it restores it", c.Known.Node, c.Known.Number)
	}
	if c.Epoch.Number == 0 {
		return mayFound(c)
	}
	if c.System != c.Epoch.System {
		return no("the data belong to another cluster: system identifier %d, recorded is %d", c.System, c.Epoch.System)
	}
	if v := holdsEpoch(c); !v.OK && !c.Force {
		return v
	}
	switch {
	case c.Epoch.Node == c.Self.Node:
		return yes("this host was the last primary (epoch %d)", c.Epoch.Number)
	case Elects(c) && !c.Force:
		return elected(c)
	case c.Self.InSync == c.Epoch.Number:
		return yes("recorded as holding every acknowledged commit of epoch %d", c.Epoch.Number)
	case c.Force:
		return yes("force_promotion: commits acknowledged after %s on timeline %d may be lost", c.Replayed, c.History.Timeline)
	}
	return no("commits acknowledged in epoch %d may be missing here; %s", c.Epoch.Number, holders(c))
}

// mayFound is for data that were there before any record: nobody knows which
// host has the latest. What was a standby's may lack commits, and of two
// primaries' data one has to go.
func mayFound(c Candidate) Verdict {
	if c.Force {
		return yes("no promotion is recorded, force_promotion: commits of another host may be lost")
	}
	if !c.Founder {
		return no("no promotion is recorded, and the data here were a standby's: start the host that was primary, or set force_promotion")
	}
	for _, p := range c.Peers {
		if p.Online && p.Scored && p.Score == AdoptScore {
			return no("no promotion is recorded, and %s has data of a primary, too: empty the data directory of one host", p.Node)
		}
	}
	return yes("no promotion is recorded yet")
}

// holdsEpoch compares histories, not timeline numbers: a stale server that was
// promoted by hand has a higher number than the true one.
func holdsEpoch(c Candidate) Verdict {
	switch {
	case c.History.Contains(c.Epoch.Timeline, c.Epoch.Switch):
		return yes("")
	// A promotion of this host that was recorded and did not take effect: the
	// server is still on the timeline it was to leave.
	case c.Epoch.Node == c.Self.Node && c.Replayed >= c.Epoch.Switch:
		return yes("")
	}
	return no("timeline %d does not contain the promotion of %s to timeline %d at %s",
		c.History.Timeline, c.Epoch.Node, c.Epoch.Timeline, c.Epoch.Switch)
}

func holders(c Candidate) string {
	names := c.Epoch.Node
	for _, p := range c.Peers {
		if p.InSync == c.Epoch.Number && p.Node != c.Epoch.Node {
			names += ", " + p.Node
		}
	}
	return "complete: " + names
}

// NextTimeline chooses the timeline for a promotion of host index (from 0) of
// n: the smallest above current and highest that only this host may use. Two
// hosts that reached the same number by different promotions would be taken
// for one history by pg_rewind and by streaming. Reserved are the numbers that
// PostgreSQL, which takes the first without a history file, must find used.
func NextTimeline(current, highest Timeline, index, n int) (next Timeline, reserved []Timeline) {
	next = max(current, highest) + 1
	for n > 1 && int(next-1)%n != index%n {
		next++
	}
	return next, between(current, next)
}

func between(current, next Timeline) (reserved []Timeline) {
	for t := current + 1; t < next; t++ {
		reserved = append(reserved, t)
	}
	return reserved
}

// Unfinished says whether a promotion of this host is on record that is not
// known to have taken effect: the supervisor that began it was killed, say. It
// is gone on with, because PostgreSQL may be at it: a second one beside it would
// be recorded with a timeline that PostgreSQL does not take.
func Unfinished(c Candidate) bool {
	return c.Epoch.Number > 0 && c.Epoch.Node == c.Self.Node && c.Self.InSync == c.Epoch.Number &&
		c.Known.Number < c.Epoch.Number && c.System == c.Epoch.System && c.History.Timeline < c.Epoch.Timeline
}

// KnownByEnough says whether the record of a promotion is in so many hosts' copies,
// this one's included, that no others can have a quorum without it: of three
// hosts two may come back together, and the third have been promoted while its
// quorum was just being lost. Two hosts wait for each other instead (wait_for_all
// in votequorum(5)).
func KnownByEnough(copies, hosts int) bool { return hosts <= 2 || copies > hosts/2 }

// Promotion is what is recorded, in one step, before a promotion takes effect.
type Promotion struct {
	Epoch    Epoch
	InSync   map[string]int // of every node: the one promoted is complete, all others are behind
	Required []string       // the nodes that the first commit waits for
	Reserved []Timeline     // the numbers that PostgreSQL must find used
}

// NextPromotion is the promotion of the candidate, on timelines that no other
// host of the cluster begins.
func NextPromotion(c Candidate, mode Mode) Promotion {
	index := 0
	p := Promotion{InSync: map[string]int{}}
	for _, peer := range c.Peers {
		if peer.ID < c.Self.ID {
			index++
		}
		p.InSync[peer.Node] = 0
		if mode == Strict {
			p.Required = append(p.Required, peer.Node)
		}
	}
	if Unfinished(c) {
		p.Epoch, p.Reserved = c.Epoch, between(c.History.Timeline, c.Epoch.Timeline)
		p.InSync[c.Self.Node] = p.Epoch.Number
		return p
	}
	next, reserved := NextTimeline(c.History.Timeline, max(c.Epoch.Highest, c.Known.Highest), index, len(c.Peers)+1)
	p.Epoch = Epoch{
		Number: max(c.Epoch.Number, c.Known.Number) + 1, System: c.System, Timeline: next, Highest: next, Switch: c.Replayed, Node: c.Self.Node,
	}
	p.InSync[c.Self.Node] = p.Epoch.Number
	p.Reserved = reserved
	return p
}

// CheckRelax says why commits may not stop waiting for those of the required
// nodes that a leaves out, judged by a view that was read after a was decided;
// nil if they may.
func CheckRelax(a Action, required []string, c Candidate) error {
	for _, p := range c.Peers {
		released := slices.Contains(required, p.Node) && !slices.Contains(a.Nodes, p.Node)
		switch {
		case !released:
		case !c.Quorate:
			return fmt.Errorf("commits wait for %s on: this part of the cluster has no quorum", p.Node)
		case p.Unclean && c.Fencing:
			return fmt.Errorf("commits wait for %s on: by now it may be running out of our sight", p.Node)
		case p.InSync == c.Epoch.Number:
			return fmt.Errorf("commits wait for %s on: it is recorded as complete", p.Node)
		}
	}
	return nil
}

// CheckPublish says why the record that a asks for may no longer be written,
// judged by a view that was read after a was decided; nil if it may.
func CheckPublish(a Action, c Candidate) error {
	switch {
	case !c.Quorate:
		return fmt.Errorf("cannot record that %s changed: this part of the cluster has no quorum", a.Node)
	case c.Epoch.Node != c.Self.Node:
		return fmt.Errorf("cannot record that %s changed: %s is the primary by now", a.Node, c.Epoch.Node)
	case a.Number > 0 && c.Epoch.Number != a.Number:
		return fmt.Errorf("cannot record that %s is complete: the epoch is %d by now", a.Node, c.Epoch.Number)
	}
	for _, p := range c.Peers {
		if p.Node == a.Node && p.Unclean && c.Fencing && a.Number == 0 {
			return fmt.Errorf("cannot record that %s is behind: by now it may be running out of our sight", a.Node)
		}
	}
	return nil
}
