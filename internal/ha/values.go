// Package ha decides what an instance of a replicated PostgreSQL should do.
//
// It is pure: facts in, a decision and the sentence that explains it out. It
// imports the standard library only, opens no file, starts no process, reads
// no clock and has no goroutine. What it decides is carried out by the
// supervisor, by the activation of the database (package instance) and by the
// OCF agent.
package ha

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log, in bytes. Zero is "not known"
// (PostgreSQL's InvalidXLogRecPtr).
type LSN uint64

// String writes the position as PostgreSQL does, for example 0/3000060.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// ParseLSN reads a position as PostgreSQL writes it.
func ParseLSN(s string) (LSN, error) {
	high, low, found := strings.Cut(s, "/")
	h, errHigh := strconv.ParseUint(high, 16, 32)
	l, errLow := strconv.ParseUint(low, 16, 32)
	if !found || errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("cannot read %q as a WAL position such as 0/3000060", s)
	}
	return LSN(h<<32 | l), nil
}

// MarshalText lets an LSN appear as text in JSON and TOML.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (l *LSN) UnmarshalText(text []byte) error {
	parsed, err := ParseLSN(string(text))
	*l = parsed
	return err
}

// Timeline is the number of a branch of PostgreSQL's history; zero is "not
// known".
type Timeline uint32

// Role is what PostgreSQL is doing on a node. Unknown is never taken for Down
// or Standby.
type Role string

// The roles.
const (
	Unknown Role = "unknown"
	Down    Role = "down"
	Standby Role = "standby"
	Primary Role = "primary"
)

// Switch is the point at which a timeline was left for the next one.
type Switch struct {
	Timeline Timeline
	At       LSN
}

// History is the line of ancestors of a timeline, oldest first, as in
// PostgreSQL's NNNNNNNN.history files.
type History struct {
	Timeline Timeline // the timeline whose history this is
	Parents  []Switch
}

// LeftAt says where this history left the timeline tl. The current timeline
// has not been left: its end is open and reported as the highest LSN. ok is
// false where tl is no ancestor.
func (h History) LeftAt(tl Timeline) (at LSN, ok bool) {
	if tl == h.Timeline {
		return ^LSN(0), true
	}
	for _, p := range h.Parents {
		if p.Timeline == tl {
			return p.At, true
		}
	}
	return 0, false
}

// Contains says whether a server on this history has passed through position
// lsn of timeline tl.
func (h History) Contains(tl Timeline, lsn LSN) bool {
	at, ok := h.LeftAt(tl)
	return ok && lsn <= at
}

// Epoch is the record of the last promotion, kept in the cluster information
// base. An instance whose history does not contain it is never promoted by
// itself.
type Epoch struct {
	Number   int      // counts promotions, from 1; 0 means that nothing is recorded yet
	System   uint64   // PostgreSQL's system identifier
	Timeline Timeline // the timeline that the promotion began
	Highest  Timeline // the highest timeline number any promotion has used
	Switch   LSN      // where the timeline began
	Node     string   // the node that was promoted
}

// String is the form in which the epoch is stored, for example
// "epoch=7 system=7412345678901234567 timeline=9 highest=9 switch=0/3000060 node=h1".
func (e Epoch) String() string {
	return fmt.Sprintf("epoch=%d system=%d timeline=%d highest=%d switch=%s node=%s",
		e.Number, e.System, e.Timeline, e.Highest, e.Switch, e.Node)
}

// ParseEpoch reads what String wrote. Fields it does not know are an error: a
// newer pgtwin wrote them, and guessing is not for an epoch.
func ParseEpoch(s string) (Epoch, error) {
	var e Epoch
	for field := range strings.FieldsSeq(s) {
		key, value, _ := strings.Cut(field, "=")
		var err error
		switch key {
		case "epoch":
			e.Number, err = strconv.Atoi(value)
		case "system":
			e.System, err = strconv.ParseUint(value, 10, 64)
		case "timeline":
			err = parseTimeline(value, &e.Timeline)
		case "highest":
			err = parseTimeline(value, &e.Highest)
		case "switch":
			e.Switch, err = ParseLSN(value)
		case "node":
			e.Node = value
		default:
			err = fmt.Errorf("field %q is not known", key)
		}
		if err != nil {
			return Epoch{}, fmt.Errorf("cannot read epoch %q: %w", s, err)
		}
	}
	if e.Number < 1 || e.Node == "" {
		return Epoch{}, fmt.Errorf("cannot read epoch %q: number or node is missing", s)
	}
	return e, nil
}

func parseTimeline(s string, to *Timeline) error {
	n, err := strconv.ParseUint(s, 10, 32)
	*to = Timeline(n)
	return err
}

// Membership is what the cluster knows of a node.
type Membership struct {
	Node    string
	ID      int  // Corosync's node id
	Online  bool // a clean member of our partition
	Unclean bool // neither a clean member nor confirmed down: it may be running
	// InSync is the epoch for which the node is recorded as holding every
	// acknowledged commit; 0 means behind or unknown.
	InSync int
	// Score is the node's promotion score; Scored tells a zero from none.
	Score  int
	Scored bool
}

// Minus is Pacemaker's -INFINITY, a score that forbids promotion.
const Minus = -1000000
