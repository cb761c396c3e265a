package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// stream is a replication connection: a walsender and a walreceiver.
type stream struct {
	from, to  *server
	pid       int
	streaming bool   // has caught up once
	flushed   ha.LSN // by the standby, as the sender knows
	busy      bool   // something is in transit
	hungUp    bool   // by the sender
	heard     time.Duration
}

// A side gives up a connection on which it hears nothing.
const (
	senderPatience   = 5 * time.Second
	receiverPatience = 4 * time.Second
)

// connect keeps a standby connected to its upstream.
func (s *server) connect() {
	if s.primary || s.stopping || s.promoting {
		return
	}
	s.after(s.h.w.between(150*ms, 600*ms), s.connect)
	if s.receiver != nil || s.upstream == nobody || s.paused || s.replayed < s.data.end {
		return
	}
	s.exhausted = true
	up := s.h.w.hosts[s.upstream].server
	if up == nil || !up.ready || up.stopping || !s.h.w.streams(up.h, s.h) || up.data.system != s.data.system {
		return
	}
	// The slot is taken for as long as the old sender has not noticed.
	if up.senders[s.h.id] != nil || !s.follows(up) {
		return
	}
	s.h.w.connections++
	c := &stream{from: up, to: s, pid: s.h.w.connections, heard: s.h.w.now}
	s.receiver, up.senders[s.h.id] = c, c
	c.pump()
}

// follows says whether the standby is on the upstream's history; WAL beyond
// the point where that left the standby's timeline is not read.
func (s *server) follows(up *server) bool {
	left, ancestor := up.data.history.LeftAt(s.data.history.Timeline)
	ahead := s.data.history.Timeline == up.data.history.Timeline && s.data.end > up.data.end
	if !ancestor || s.replayed > left || ahead {
		return false
	}
	s.data.end = min(s.data.end, left)
	s.data.history = upTo(up.data.history, s.data.end)
	return true
}

// open says whether both sides still want the connection.
func (c *stream) open() bool { return c.to.receiver == c && !c.hungUp }

// drop is the receiver's end.
func (c *stream) drop() {
	if c.to.receiver == c {
		c.to.receiver = nil
	}
	c.pump()
}

// pump moves WAL, one chunk at a time, and notices the end of the other side.
func (c *stream) pump() {
	w := c.from.h.w
	if !w.streams(c.from.h, c.to.h) {
		c.wait()
		return
	}
	c.heard = w.now
	if !c.open() || c.from.ended || c.to.ended {
		c.close()
		return
	}
	if c.busy {
		return
	}
	if c.to.data.end >= c.from.data.end && c.flushed >= c.from.data.end {
		c.streaming = true
		return
	}
	c.busy = true
	upTo := min(c.from.data.end, c.to.data.end+4<<20)
	c.to.after(w.transit(), func() { c.receive(upTo) })
}

// wait is for a cut: each side gives up in its own time.
func (c *stream) wait() {
	w := c.from.h.w
	silent := w.now - c.heard
	c.busy = false // what was in transit may be lost, and is sent again
	if silent > receiverPatience && c.to.receiver == c && c.to.h.alive() {
		c.to.receiver = nil
	}
	if silent > senderPatience && c.from.senders[c.to.h.id] == c && c.from.h.alive() {
		c.from.senders[c.to.h.id], c.hungUp = nil, true
	}
	if c.to.receiver == c && !c.to.ended || c.from.senders[c.to.h.id] == c && !c.from.ended {
		w.after(500*ms, c.repump)
	}
}

// repump goes on unless the connection is forgotten on both sides.
func (c *stream) repump() {
	if c.to.receiver == c && !c.to.ended || c.from.senders[c.to.h.id] == c && !c.from.ended {
		c.pump()
	}
}

func (c *stream) close() {
	if c.to.receiver == c {
		c.to.receiver = nil
	}
	if c.from.senders[c.to.h.id] == c {
		c.from.senders[c.to.h.id] = nil
	}
}

func (c *stream) receive(upTo ha.LSN) {
	if !c.open() {
		return
	}
	c.to.sync(func() {
		if !c.open() {
			return
		}
		c.advance(upTo)
		c.from.after(c.from.h.w.transit(), func() { c.reply(upTo) })
	})
}

// advance makes received WAL durable on the standby.
func (c *stream) advance(end ha.LSN) {
	d := c.to.data
	d.end = max(d.end, end)
	d.history = upTo(c.from.data.history, d.end)
	c.to.replay()
}

func (c *stream) reply(upTo ha.LSN) {
	if !c.from.h.w.streams(c.from.h, c.to.h) || c.from.senders[c.to.h.id] != c {
		return
	}
	c.busy, c.flushed = false, max(c.flushed, upTo)
	c.streaming = c.streaming || c.flushed+1<<20 >= c.from.data.end
	c.from.acknowledge()
	c.pump()
}
