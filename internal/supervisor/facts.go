package supervisor

import (
	"os"
	"slices"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// self is this node as the cluster knows it.
func (s *Supervisor) self() ha.Membership {
	for _, node := range s.view.Nodes {
		if node.Node == s.Instance.Node {
			return node
		}
	}
	return ha.Membership{Node: s.Instance.Node}
}

// candidate is this node as if it were to be promoted now.
func (s *Supervisor) candidate() ha.Candidate {
	c := ha.Candidate{
		Self:      s.self(),
		Quorate:   s.view.Quorate,
		Fencing:   s.view.Fencing,
		Epoch:     s.view.Epoch,
		Known:     s.knownHere(),
		Role:      s.seen.role,
		Held:      s.seen.hold.why,
		Unsound:   s.seen.unsound,
		System:    s.seen.look.System,
		History:   s.currentHistory(),
		Replayed:  s.seen.look.Replayed,
		Spare:     s.view.Spare,
		Received:  s.seen.look.Position(),
		Positions: s.positions,
		Founder:   s.view.Epoch.Number == 0 && exists(config.FounderFile(s.Instance.Name)),
		Force:     s.Instance.ForcePromotion || exists(config.AcceptLoss(s.Instance.Name)),
	}
	c.Peers = others(s.view, s.Instance.Node)
	return c
}

func others(view cluster.View, self string) []ha.Membership {
	return slices.DeleteFunc(slices.Clone(view.Nodes), func(m ha.Membership) bool { return m.Node == self })
}

// know remembers an epoch that is later than what was known. One of this host's
// own counts from when the promotion has taken effect: what was only recorded,
// in a part of the cluster that then lost, never happened.
func (s *Supervisor) know(epoch ha.Epoch) {
	effective := epoch.Node != s.Instance.Node || s.seen.role == ha.Primary && s.seen.look.Timeline == epoch.Timeline
	later := epoch.Number > s.latest.Number || epoch.System != s.latest.System
	if epoch.Number == 0 || !later || !effective {
		return
	}
	s.latest = epoch
	s.note(control.Event{Kind: control.EventPromotion, Node: epoch.Node, Epoch: epoch.Number, Timeline: epoch.Timeline, LSN: epoch.Switch})
	if err := control.WriteEpoch(config.EpochFile(s.Instance.Name), epoch); err != nil {
		s.Log.Warn("an older copy of the records would not be noticed", "error", err)
	}
}

// knownHere is the latest epoch known of the database that is here, or on
// record: what is left of another one says nothing.
func (s *Supervisor) knownHere() ha.Epoch {
	here, recorded := s.seen.look.System, s.view.Epoch
	if here != 0 && s.latest.System != here || recorded.Number > 0 && s.latest.System != recorded.System {
		return ha.Epoch{}
	}
	return s.latest
}

// currentHistory is the history of the timeline that the server is on. Until
// it can be read it is the bare timeline, which contains no promotion.
func (s *Supervisor) currentHistory() ha.History {
	tl := s.seen.look.Timeline
	if tl == 0 || s.seen.role == ha.Down {
		return ha.History{Timeline: tl}
	}
	var history ha.History
	var err error
	switch streams := s.seen.look.Receiver.Streaming(); {
	case s.history.Timeline == tl && (streams || s.seen.role == ha.Primary):
		return s.history
	case s.seen.role == ha.Standby && !streams:
		history, err = pg.ReplayedHistory(s.Instance.PGData, s.seen.look.Replayed)
	default:
		history, err = pg.ReadHistory(s.Instance.PGData, tl)
	}
	if err != nil {
		s.Log.Debug("cannot read the timeline's history", "timeline", tl, "error", err)
		return ha.History{Timeline: tl}
	}
	s.history = history
	return history
}

// facts gathers what Decide needs.
func (s *Supervisor) facts() ha.Facts {
	f := ha.Facts{
		Candidate:   s.candidate(),
		Mode:        ha.Mode(s.Instance.RepMode),
		Blind:       s.seen.blind,
		Repairable:  s.seen.hold.why != "",
		SyncTimeout: s.Instance.SyncTimeout,
		MaxLag:      s.Instance.MaxPromotionLagBytes,
		Waiting:     s.seen.progress.Phase == control.PhaseWaiting,
		HasData:     s.seen.data,
		Died:        s.died(),
		WasPrimary:  s.seen.data && s.seen.control.State != pg.InArchiveRecovery && s.seen.control.State != pg.ShutDownInRecovery,
		Position:    s.seen.look.Written,
		Upstream:    s.follows,
		SpareFor:    s.allowance.For(s.seen.at),
		Receiving:   s.served(),
		Lagging:     s.lagging,
	}
	f.CollationsChanged = s.collationsKnown() && len(s.collations.warnings) > 0
	f.CollationsAwaited = !s.collationsKnown() && time.Since(s.changed) < collationWait
	if s.unserved = firstTime(s.unserved, s.seen.at, !f.Receiving); !f.Receiving {
		f.UnservedFor = time.Since(s.unserved)
	}
	if f.Role == ha.Unknown {
		// What it was cannot be asked, but is on record.
		f.WasPrimary, f.HungFor = f.Epoch.Node == s.Instance.Node, s.silence.hungFor()
	}
	if !s.stalled.IsZero() && !f.Blind {
		f.StalledFor = s.seen.at.Sub(s.stalled)
	}
	if !f.Died && f.Role != ha.Unknown && s.stalled.IsZero() {
		s.yielded = time.Time{}
	} else if !s.yielded.IsZero() {
		f.YieldedFor = time.Since(s.yielded)
	}
	switch {
	case s.seen.role == ha.Primary && f.Blind:
		s.memory.Unseen(s.seen.at, f.Peers)
	case s.seen.role == ha.Primary:
		f.Required, f.Spared = s.required(), s.spared()
		f.Quorum = s.quorum(f.Required, f.Spared)
		f.Standbys = s.memory.Followers(s.seen.at, f.Peers, s.senders(), s.proven(f.Required), s.seen.look.Written)
	}
	s.diverged = firstTime(s.diverged, s.seen.at, s.isDiverged(f))
	if !s.diverged.IsZero() && !s.seen.look.Receiver.Streaming() {
		f.DivergedFor = time.Since(s.diverged)
	}
	f.Outage = s.outage(f)
	if s.seen.role == ha.Standby && s.seen.progress.Phase == control.PhaseRunning {
		f.LoweredFor, f.RaisedFor = s.startedFor(s.seen.progress.HotStandbyOff), s.startedFor(s.seen.progress.Lowering)
	}
	return f
}

// startedFor is how long the server has run, at least 1 ns, if it was started so; else 0.
func (s *Supervisor) startedFor(so bool) time.Duration {
	if !so {
		return 0
	}
	return max(1, s.seen.at.Sub(s.seen.progress.Since))
}

// died says whether PostgreSQL went down unasked after it had been running.
func (s *Supervisor) died() bool {
	return s.seen.role == ha.Down && s.seen.progress.Phase == control.PhaseRunning && s.seen.intent == control.IntentRun
}

// isDiverged is for a standby of a living primary that is not on the primary's
// history and does not get there by streaming.
func (s *Supervisor) isDiverged(f ha.Facts) bool {
	return s.seen.role == ha.Standby && f.Epoch.Number > 0 && f.Epoch.Node != s.Instance.Node &&
		!s.receives() && !f.History.Contains(f.Epoch.Timeline, f.Epoch.Switch) && ha.PrimaryServes(f)
}

// proven are the required nodes once commits are proven to wait for them: what
// was acknowledged before that may be missing there.
func (s *Supervisor) proven(required []string) []string {
	if s.enforced != s.settings {
		return nil
	}
	return required
}

// senders are the peers' connections, by node.
func (s *Supervisor) senders() map[string]ha.Sender {
	all := map[string]ha.Sender{}
	for _, node := range s.view.Nodes {
		if w := s.sender(node.Node); w != nil {
			all[node.Node] = ha.Sender{
				PID: w.PID, Streaming: w.State == "streaming", Flushed: w.Flushed, Replayed: w.Replayed,
				Waited: (w.SyncState == "sync" || w.SyncState == "quorum" || w.SyncState == "potential") && s.enforced == s.settings,
			}
		}
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// firstTime keeps the time since when a condition holds, zero while it does
// not. It is judged by a look that began at now.
func firstTime(since, now time.Time, holds bool) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case since.IsZero():
		return now
	}
	return since
}
