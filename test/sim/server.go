package sim

import (
	"slices"
	"time"

	"pgtwin/internal/ha"
)

// server is a running PostgreSQL. It starts as a standby.
type server struct {
	process
	data     *database
	primary  bool
	ready    bool // it answers
	stopping bool
	paused   bool // replay

	written      ha.LSN // primary: the end of WAL, flushed or not
	replayed     ha.LSN
	replaying    bool
	flushing     bool
	promoting    bool
	checkpointed bool // on the timeline it is on

	upstream int
	receiver *stream
	senders  [maxHosts]*stream

	shown   setting  // synchronous_standby_names as a session sees it
	inForce setting  // as commits see it, which is a little later
	pending []ha.LSN // commits that are not acknowledged yet

	farewells nodes // standbys that wait to be released
	exhausted bool  // since its start it has come to the end of the WAL that was there
}

// setting is whom commits wait for, and for how many of them they do not.
type setting struct {
	nodes
	spared int
}

// startServer starts PostgreSQL on the data as a standby of upstream.
func (h *host) startServer(upstream int, ready func()) {
	h.w.ledger.started(h)
	s := &server{process: process{h: h}, data: &h.data, upstream: upstream, replayed: h.data.control.At, checkpointed: true}
	if h.data.ended != ha.Replaying {
		s.replayed = h.data.end // crash recovery comes before anything else
	}
	h.data.reserved = nil
	h.server = s
	s.after(h.w.between(50*ms, 1500*ms), func() {
		s.ready = true
		// From its first start as a standby on the control file says so.
		s.data.ended = ha.Replaying
		s.data.control = ha.Switch{Timeline: upTo(s.data.history, s.replayed).Timeline, At: s.replayed}
		ready()
		s.replay()
		s.connect()
	})
}

// replay follows the WAL that has been received, or was there.
func (s *server) replay() {
	if s.replaying || s.paused || s.primary || s.replayed >= s.data.end {
		return
	}
	s.replaying = true
	pace := s.h.w.between(ms, 15*ms)
	if s.h.slowDisk > 0 {
		pace = s.h.diskTime()
	}
	s.after(pace, func() {
		s.replaying = false
		if !s.paused && !s.primary {
			s.replayed = min(s.data.end, s.replayed+8<<20)
			s.replay()
		}
	})
}

// commit writes a transaction of the given size.
func (s *server) commit(size ha.LSN) {
	s.written += size
	s.pending = append(s.pending, s.written)
	s.flush()
}

func (s *server) flush() {
	if s.flushing || s.data.end >= s.written {
		return
	}
	s.flushing = true
	upTo := s.written
	s.sync(func() {
		s.flushing = false
		s.data.end = upTo
		s.feed()
		s.acknowledge()
		s.flush()
	})
}

// feed lets the senders go on.
func (s *server) feed() {
	for _, c := range s.senders {
		if c != nil {
			c.pump()
		}
	}
}

// acknowledge answers the clients whose commit every required standby has
// flushed.
func (s *server) acknowledge() {
	var flushed []ha.LSN
	for id := range s.senders {
		if c := s.senders[id]; s.inForce.has(id) && c != nil && c.streaming {
			flushed = append(flushed, c.flushed)
		}
	}
	durable := s.data.end
	if acks := s.inForce.count() - s.inForce.spared; acks > 0 {
		if len(flushed) < acks {
			return
		}
		slices.Sort(flushed)
		durable = min(durable, flushed[len(flushed)-acks])
	}
	for len(s.pending) > 0 && s.pending[0] <= durable {
		s.h.w.ledger.acknowledged(s, s.pending[0])
		s.pending = s.pending[1:]
	}
}

// require changes synchronous_standby_names.
func (s *server) require(set setting) {
	w := s.h.w
	s.after(w.between(ms, 10*ms), func() {
		s.shown = set
		late := w.between(0, 5*ms)
		if w.chance(0.1) { // the checkpointer, by which commits go, is at work
			late = w.between(0, 20*time.Second)
		}
		s.after(late, func() {
			before := s.inForce
			s.inForce = s.shown
			if s.primary && before != s.inForce {
				w.ledger.resolved(s)
			}
			s.acknowledge()
		})
	})
}

// promote ends recovery. PostgreSQL takes the first number after its timeline
// for which it finds no history file.
func (s *server) promote() {
	if s.promoting || s.primary {
		return
	}
	s.promoting, s.paused = true, false
	if s.receiver != nil {
		s.receiver.drop()
	}
	s.after(s.h.w.between(30*ms, 600*ms), func() {
		d := s.data
		next := d.history.Timeline + 1
		for slices.Contains(d.reserved, next) {
			next++
		}
		d.history = branch(d.history, next, d.end)
		s.dropAll()
		s.primary, s.promoting, s.checkpointed = true, false, false
		d.end += recordSize
		s.written, s.replayed = d.end, d.end
		d.ended = ha.Crashed // until it is shut down
		s.h.w.ledger.promoted(s)
		s.after(s.h.w.between(200*ms, 8*time.Second), s.checkpoint)
	})
}

// follow changes primary_conninfo.
func (s *server) follow(upstream int) {
	s.after(s.h.w.between(ms, 50*ms), func() {
		if s.upstream != upstream && s.receiver != nil {
			s.receiver.drop()
		}
		s.upstream = upstream
	})
}

// stalled says whether the disk does not take what is written.
func (s *server) stalled() bool { return s.primary && s.written > s.data.end && s.h.stalledDisk > 0 }

// restart is PostgreSQL's own after the death of a backend: the connections
// end, and what was not acknowledged never is.
func (s *server) restart() {
	if !s.ready || s.stopping || s.promoting {
		return
	}
	s.ready, s.pending = false, nil
	s.dropAll()
	s.after(s.h.w.between(50*ms, 3*time.Second), func() { s.ready = true })
}

func (s *server) checkpoint() {
	if s.primary && !s.stopping {
		s.checkpointed = true
		s.data.control = ha.Switch{Timeline: s.data.history.Timeline, At: s.data.end}
	}
}

// shutdown is a fast shutdown: a primary writes its last checkpoint and waits
// for its standbys to have it. What takes too long is done by force.
func (s *server) shutdown(patience time.Duration, done func()) {
	if s.ended {
		done()
		return
	}
	if s.stopping {
		s.h.after(20*ms, func() { s.shutdown(patience, done) })
		return
	}
	s.stopping, s.pending = true, nil
	deadline := s.h.w.now + patience
	s.after(s.h.w.between(5*ms, 300*ms), func() {
		if s.primary {
			s.data.end = s.written + recordSize
			s.written = s.data.end
			s.feed()
		}
		s.drain(deadline, done)
	})
	s.h.after(patience+time.Second, func() { // whoever is left over
		if !s.ended {
			s.kill()
			done()
		}
	})
}

func (s *server) drain(deadline time.Duration, done func()) {
	drained := true
	for _, c := range s.senders {
		drained = drained && (c == nil || c.to.data.end >= s.data.end || c.to.ended)
	}
	switch {
	case drained || !s.primary:
		s.closeFiles()
		s.end()
		done()
	case s.h.w.now > deadline:
		s.kill()
		done()
	default:
		s.after(10*ms, func() { s.drain(deadline, done) })
	}
}

// closeFiles leaves the control file as an orderly shutdown does.
func (s *server) closeFiles() {
	if s.primary {
		s.data.ended = ha.Clean
		s.data.control = ha.Switch{Timeline: s.data.history.Timeline, At: s.data.end - recordSize}
		return
	}
	s.data.control = ha.Switch{Timeline: upTo(s.data.history, s.replayed).Timeline, At: s.replayed}
}

// kill ends the processes at once; the peers learn of it.
func (s *server) kill() {
	s.lose()
	s.end()
	if s.h.phase == starting { // its activation has waited for it
		s.h.activation.end()
		s.h.activation, s.h.phase = nil, failed
	}
}

// lose is what a crash does to the data.
func (s *server) lose() {
	if !s.primary && s.h.w.chance(0.5) { // a restart point was not long ago
		s.data.control = ha.Switch{Timeline: upTo(s.data.history, s.replayed).Timeline, At: s.replayed}
	}
	s.ended = true
	if s.h.server == s {
		s.h.server = nil
	}
}

func (s *server) end() {
	s.ended = true
	if s.h.server == s {
		s.h.server = nil
	}
	s.dropAll()
}

// dropAll closes every connection; where the link is cut the other side
// notices later.
func (s *server) dropAll() {
	if s.receiver != nil {
		s.receiver.pump()
	}
	for id, c := range s.senders {
		if c != nil {
			s.senders[id] = nil
			c.hungUp = true
			c.pump()
		}
	}
}
