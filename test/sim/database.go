package sim

import (
	"slices"

	"pgtwin/internal/ha"
)

// database is a data directory. Timelines are unique, which is checked, so
// what it contains follows from its history and the end of its WAL.
type database struct {
	exists   bool
	unsound  bool // the marker of an unfinished rewind
	mixed    bool // what the marker is for
	system   uint64
	history  ha.History // of the timeline at the end
	end      ha.LSN     // of the WAL that is flushed
	ended    ha.Ending
	control  ha.Switch // timeline and position in the control file
	reserved []ha.Timeline
}

// recordSize is a checkpoint's or an end-of-recovery's.
const recordSize = 128

// holds says whether WAL up to lsn of a timeline is here.
func (d *database) holds(tl ha.Timeline, lsn ha.LSN) bool {
	return d.exists && !d.mixed && lsn <= d.end && d.history.Contains(tl, lsn)
}

// upTo is a history as it was at a position: without the timelines that begin
// later.
func upTo(h ha.History, at ha.LSN) ha.History {
	for i, p := range h.Parents {
		if at < p.At {
			return ha.History{Timeline: p.Timeline, Parents: h.Parents[:i:i]}
		}
	}
	return h
}

// branch is the history of a timeline that begins at the end of h.
func branch(h ha.History, next ha.Timeline, at ha.LSN) ha.History {
	parents := append(slices.Clip(h.Parents), ha.Switch{Timeline: h.Timeline, At: at})
	return ha.History{Timeline: next, Parents: parents}
}

// initdb makes a new database, shut down as a primary.
func (h *host) initdb() {
	w := h.w
	w.systems++
	h.data = database{
		exists: true, system: w.systems, history: ha.History{Timeline: 1}, end: 1 << 24,
		ended: ha.Clean, control: ha.Switch{Timeline: 1, At: 1<<24 - recordSize},
	}
	w.ledger.bootstrapped(h)
}

// copyOf replaces the data by those of a running primary.
func (h *host) copyOf(source *host) {
	from := &source.data
	h.data = database{
		exists: true, system: from.system, history: from.history, end: from.end,
		ended: ha.Replaying, control: ha.Switch{Timeline: from.history.Timeline, At: from.end},
	}
	h.w.ledger.changed()
}
