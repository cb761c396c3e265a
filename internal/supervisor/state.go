package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/units"
)

// stallWarning is how long a disk may take for one write without a word.
const stallWarning = 3 * time.Second

// byHandShown is how long the status says that somebody promoted this standby by hand.
const byHandShown = 10 * time.Minute

// state is what the supervisor knows, for the agent, status and metrics.
func (s *Supervisor) state() control.State {
	i, seen, look := s.Instance, s.seen, s.seen.look
	st := control.State{
		Instance: i.Name, Resource: i.Resource, Node: i.Node, Updated: seen.at,
		Role: seen.role, Blind: seen.blind, Phase: seen.progress.Phase, Detail: seen.progress.Detail,
		Quorate: s.view.Quorate, Fencing: s.view.Fencing,
		InSync: s.view.Epoch.Number > 0 && s.self().InSync == s.view.Epoch.Number,
		Score:  s.self().Score, Runtime: seen.progress.Runtime, Image: seen.progress.Image, Crashes: s.crashes.Count, LastCrash: s.crashes.Last,
		Replaced: s.replaced,
	}
	if seen.progress.Phase == "" {
		st.Phase = control.PhaseStopped
	}
	if seen.progress.Total > 0 || seen.progress.Done > 0 {
		st.Progress = &seen.progress
	}
	if s.view.Epoch.Number > 0 {
		epoch := s.view.Epoch
		st.Epoch = &epoch
	}
	if s.server != nil {
		st.PID = s.server.PID
	}
	if seen.role == ha.Primary || seen.role == ha.Standby {
		st.System, st.Version, st.Timeline, st.Started = look.System, look.Version, look.Timeline, look.Started
		st.LSN, st.Sync = look.Position(), look.Synchronous
	}
	switch seen.role {
	case ha.Standby:
		st.Replayed, st.Receiving, st.Upstream = look.Replayed, look.Receiver.Streaming(), s.view.Epoch.Node
		if look.Receiver != nil {
			st.UpstreamLSN = look.Receiver.LatestEnd
			st.LagBytes = max(0, int64(look.Receiver.LatestEnd)-int64(look.Replayed))
		}
		if look.ReplayAge != nil {
			st.Committed = seen.at.Add(-time.Duration(*look.ReplayAge * float64(time.Second))).Truncate(time.Second)
		}
		if look.ReplayAge != nil && st.LagBytes > 0 {
			st.LagSeconds = *look.ReplayAge
		}
	case ha.Primary:
		st.Standbys = s.standbys()
	}
	// Pacemaker takes one that yields for promoted: it has to end with the order to demote.
	st.Yielding = seen.intent == control.IntentRun && !s.yielded.IsZero() && time.Since(s.yielded) < ha.DemotionPatience
	st.Stalled = !s.stalled.IsZero() && time.Since(s.stalled) > stallWarning
	st.Warnings = s.warnings(st)
	if st.Role == ha.Primary || st.Role == ha.Standby {
		st.Advice = s.counsel()
	}
	s.warned = firstTime(s.warned, s.seen.at, len(st.Warnings) > 0)
	st.WarnedSince = s.warned
	return st
}

func (s *Supervisor) standbys() []control.Standby {
	var all []control.Standby
	for _, node := range s.view.Nodes {
		sender := s.sender(node.Node)
		if sender == nil {
			continue
		}
		all = append(all, control.Standby{
			Node: node.Node, State: sender.State, Sync: sender.SyncState,
			Flushed: sender.Flushed, Replayed: sender.Replayed,
			LagBytes: max(0, int64(s.seen.look.Written)-int64(sender.Replayed)),
			Slot:     config.SlotFor(s.Instance, node.Node),
		})
	}
	return all
}

// counsel is what an administrator should see to, although the cluster is in order.
func (s *Supervisor) counsel() []string {
	look := s.seen.look
	all := slices.Concat(s.advice, slotAdvice(look.Slots, config.SlotPrefix(s.Instance), look.Position()))
	if s.collationsKnown() {
		all = append(all, s.collations.warnings...)
	}
	if s.crashes.ByHand != "" && time.Since(s.crashes.ByHandAt) < byHandShown {
		all = append(all, "PostgreSQL was stopped here: "+s.crashes.ByHand)
	}
	return all
}

// warnings says in words what is unusual. The first is the most serious.
func (s *Supervisor) warnings(st control.State) []string {
	var all []string
	add := func(holds bool, format string, a ...any) {
		if holds {
			all = append(all, fmt.Sprintf(format, a...))
		}
	}
	add(s.seen.role == ha.Unknown, "PostgreSQL does not answer: %v", s.seen.err)
	add(st.Blind && st.Role == ha.Primary, "PostgreSQL runs as primary but does not answer pgtwin: commits would wait for a standby that is lost now: %v", s.seen.err)
	add(st.Blind && st.Role == ha.Standby, "PostgreSQL runs as standby but does not answer pgtwin: %v", s.seen.err)
	add(s.seen.hold.why != "", "not promotable, because its replay is held: %s", s.seen.hold.why)
	add(st.Stalled, "the disk has taken no WAL for %s: commits wait", time.Since(s.stalled).Round(time.Second))
	add(s.viewAt.IsZero() && s.view.Nodes == nil, "Pacemaker does not answer")
	add(s.view.Nodes != nil && !s.view.Quorate, "this part of the cluster has no quorum")
	add(s.view.Nodes != nil && !s.view.Fencing, "fencing is not configured: a host that is cut off may go on writing, and what it acknowledges is lost")
	if st.Role == ha.Standby {
		add(!st.Receiving && s.complaint == "" && !st.Blind, "no WAL is received from %s", st.Upstream)
		add(!st.Receiving && s.complaint != "" && !st.Blind, "no WAL is received from %s: %s", st.Upstream, s.complaint)
		add(!st.InSync, "not promotable: commits acknowledged elsewhere may be missing here")
	}
	if st.Role == ha.Primary {
		for _, p := range s.view.Nodes {
			if p.Node == s.Instance.Node || p.InSync == s.view.Epoch.Number {
				continue
			}
			add(true, "%s is behind: a failure of this host now would interrupt the service", p.Node)
		}
		add(s.wish.problem != "", "%s", s.wish.problem)
		for _, node := range s.required() {
			if st.Blind {
				break
			}
			sender := s.sender(node)
			add(sender == nil || sender.State != "streaming", "commits wait for %s, which is not connected", node)
		}
		all = append(all, s.unapplied()...)
	}
	add(s.seen.look.ReplayPaused && st.Role == ha.Standby && s.seen.hold.why == "",
		"replay is paused: pg_wal_replay_resume() lets it go on, and so does a promotion")
	add(s.secret.problem != "", "%s", s.secret.problem)
	return all
}

// show publishes the state: file, status lines and, once it has settled, the
// summary for the other hosts.
func (s *Supervisor) show(ctx context.Context) {
	st := s.state()
	if err := control.WriteJSON(config.StatusFile(s.Instance.Name), st, 0o644); err != nil {
		s.Log.Warn("cannot write the status", "error", err)
	}
	s.showLine(ctx, Sentence(st))
	if time.Since(s.changed) > 3*time.Second {
		s.publishSummary(ctx, st)
	}
}

// showLine sets the status line of our own unit and, while PostgreSQL runs,
// that of the database unit, whose own processes do not speak for themselves.
func (s *Supervisor) showLine(ctx context.Context, line string) {
	if line == s.said && s.mainPID != 0 {
		return
	}
	s.said = line
	if _, err := daemon.SdNotify(false, "STATUS="+line); err != nil {
		s.Log.Warn("cannot show the status in systemd", "error", err)
	}
	if s.server == nil || s.seen.progress.Phase != control.PhaseRunning {
		return
	}
	err := s.findMainPID(ctx)
	if text := fmt.Sprint(err); err != nil && text != s.unfound {
		s.unfound = text
		s.Log.Warn("cannot find the database unit", "error", err)
	}
	if err != nil {
		return
	}
	s.unfound = ""
	if s.mainPID == 0 {
		return
	}
	if err := units.NotifyFor(s.mainPID, "STATUS="+line); err != nil {
		s.Log.Debug("cannot show the status in systemd", "error", err)
		s.mainPID = 0
	}
}

// publishSummary tells the other hosts' status what runs here.
func (s *Supervisor) publishSummary(ctx context.Context, st control.State) {
	summary := st.Summary().String()
	if summary == s.summary {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := s.Cluster.SetAttribute(ctx, control.SummaryAttribute(s.Instance.Name), summary); err != nil {
		s.Log.Debug("cannot publish the summary", "error", err)
		return
	}
	s.summary = summary
}

// Sentence is the state in one line, as in systemctl status.
func Sentence(st control.State) string {
	switch st.Role {
	case ha.Primary:
		if st.Blind {
			return fmt.Sprintf("primary, timeline %d; does not answer pgtwin's questions", st.Timeline)
		}
		return fmt.Sprintf("primary, timeline %d; %s", st.Timeline, standbySentence(st))
	case ha.Standby:
		if st.Blind {
			return fmt.Sprintf("standby, timeline %d; does not answer pgtwin's questions", st.Timeline)
		}
		if !st.Receiving {
			return fmt.Sprintf("standby, timeline %d; receives nothing from %s", st.Timeline, st.Upstream)
		}
		return fmt.Sprintf("standby of %s, timeline %d; %s behind", st.Upstream, st.Timeline, size(st.LagBytes))
	case ha.Unknown:
		return "PostgreSQL runs but does not answer"
	}
	text := string(st.Phase)
	if st.Detail != "" {
		text += ": " + st.Detail
	}
	if st.Progress != nil {
		text += ", " + st.Progress.Amount()
	}
	return text
}

func standbySentence(st control.State) string {
	if len(st.Standbys) == 0 {
		return "no standby is connected"
	}
	var all []string
	for _, standby := range st.Standbys {
		all = append(all, fmt.Sprintf("%s %s, %s, %s behind", standby.Node, standby.State, standby.Sync, size(standby.LagBytes)))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func size(bytes int64) string {
	switch {
	case bytes < 1<<20:
		// Rounded, so that a quiet line stays quiet.
		if bytes < 64<<10 {
			return "0 kB"
		}
		return fmt.Sprintf("%d kB", bytes>>10)
	case bytes < 10<<30:
		return fmt.Sprintf("%d MB", bytes>>20)
	}
	return fmt.Sprintf("%d GB", bytes>>30)
}
