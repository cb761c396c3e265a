package supervisor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// wish is what the administrator's own synchronous_standby_names asks for.
type wish struct {
	known   bool // it has been asked for
	text    string
	quorum  int    // how many standbys a commit is to be on; 0: all that are complete
	first   bool   // on the first of the list that are connected
	problem string // why it is not followed
}

// heedWish follows the administrator's synchronous_standby_names.
func (s *Supervisor) heedWish(ctx context.Context, text string) error {
	if s.seen.role != ha.Primary {
		return nil // the answer is of a primary that this server is not any more
	}
	var nodes []string
	for _, peer := range others(s.view, s.Instance.Node) {
		nodes = append(nodes, config.ApplicationNameOf(s.Instance, peer.Node))
	}
	before := s.wish
	s.wish = understand(text, ha.Mode(s.Instance.RepMode), nodes)
	switch {
	case s.wish == before, text == "" && before.text == "":
	case s.wish.problem != "":
		s.Log.Warn(s.wish.problem)
	case s.wish.quorum > 0:
		s.Log.Info(fmt.Sprintf("a commit is to be on %d standbys, by the administrator's synchronous_standby_names", s.wish.quorum), "value", text)
	default:
		s.Log.Info("a commit is to be on every standby that is complete")
	}
	if s.wish.text == before.text || !s.wish.first && !before.first {
		return nil
	}
	return s.configure(ctx, s.follows, s.required(), s.spared()) // in the order that is wished for
}

// arrange puts the standbys that commits wait for into the administrator's order.
func (w wish) arrange(settings *pg.Settings) {
	if !w.first {
		return
	}
	if list, err := pg.ParseSynchronous(w.text); err == nil {
		settings.First = true
		list.Sort(settings.Synchronous)
	}
}

// understand reads the administrator's setting. What cannot be followed to the
// letter is surpassed: commits then wait for every standby that is complete.
func understand(text string, mode ha.Mode, standbys []string) wish {
	w := wish{known: true, text: text}
	if text == "" || mode == ha.Async {
		return w
	}
	const otherwise = "commits wait for every standby that is complete instead"
	setting, err := pg.ParseSynchronous(text)
	if err != nil {
		w.problem = fmt.Sprintf("synchronous_standby_names in postgresql.conf is not followed: %v; %s", err, otherwise)
		return w
	}
	if mode == ha.Strict {
		w.problem = fmt.Sprintf("synchronous_standby_names = '%s' in postgresql.conf is not followed: rep_mode=strict waits for every standby", text)
		return w
	}
	for _, name := range standbys {
		if !setting.Covers(name) {
			w.problem = fmt.Sprintf("synchronous_standby_names = '%s' in postgresql.conf is not followed: it leaves out %s; %s", text, name, otherwise)
			return w
		}
	}
	w.quorum, w.first = setting.Count, !setting.Any
	return w
}

// quorum is how many standbys a commit is to be on. Until the administrator's wish
// is known it stays as it is.
func (s *Supervisor) quorum(required []string, spared int) int {
	if !s.wish.known && spared > 0 {
		return len(required) - spared
	}
	return s.wish.quorum
}

// spared is how many of the required nodes commits do not wait for.
func (s *Supervisor) spared() int {
	setting, err := pg.ParseSynchronous(s.seen.look.Synchronous)
	if err != nil {
		return 0
	}
	return setting.Spared()
}

// waitedFor is a setting in words.
func waitedFor(nodes []string, spared int) string {
	if spared == 0 {
		return "[" + strings.Join(nodes, " ") + "]"
	}
	return fmt.Sprintf("any %d of [%s]", len(nodes)-spared, strings.Join(nodes, " "))
}

// spare records how many of the standbys on record may lack a commit.
func (s *Supervisor) spare(ctx context.Context, a ha.Action) error {
	decided := s.view.Epoch
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if err := ha.CheckAllowance(decided, s.candidate()); err != nil {
		return err
	}
	s.Log.Info(fmt.Sprintf("%d of the standbys on record may lack a commit: %s", a.Number, a.Why), "PGTWIN_EPOCH", decided.Number)
	s.allowance.Writing()
	if err := s.write(ctx, ha.RecordRank, cluster.Record{Spare: &a.Number}); err != nil {
		return err
	}
	s.view.Spare = a.Number
	s.allowance.Read(time.Now(), a.Number)
	return nil
}

// served says whether WAL comes in from the recorded primary.
func (s *Supervisor) served() bool {
	if s.seen.role != ha.Standby || !s.seen.look.Receiver.Streaming() {
		return false
	}
	for _, p := range others(s.view, s.Instance.Node) {
		if p.Node == s.view.Epoch.Node {
			return p.Online
		}
	}
	return false
}

// How often, and for how long, peers are asked for their positions.
const (
	comparePeriod   = time.Second
	servedPeriod    = 2 * time.Second // while the primary serves
	comparePatience = time.Second
)

// compare asks the other members of a quorum for their positions, for the score.
// While the primary serves, this standby lags if after a while it still has less
// than another had.
func (s *Supervisor) compare(ctx context.Context) {
	if s.seen.role != ha.Standby || !ha.Elects(s.candidate()) {
		s.lagging = false
		return
	}
	if !s.judged && s.seen.at.Sub(s.askedAt) >= settledLook {
		s.judged, s.lagging = true, ha.Ahead(s.candidate()) != ""
	}
	period := comparePeriod
	if s.served() {
		period = servedPeriod
	}
	if time.Since(s.askedAt) >= period {
		s.askPeers(ctx)
	}
}

// askPeers asks every member of the quorum that is online how far it has WAL.
func (s *Supervisor) askPeers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()
	positions := map[string]ha.LSN{}
	var asking sync.WaitGroup
	var mu sync.Mutex
	for _, p := range others(s.view, s.Instance.Node) {
		if !p.Online || p.InSync != s.view.Epoch.Number || p.Node == s.view.Epoch.Node {
			continue
		}
		asking.Go(func() {
			at, err := pg.AskPosition(ctx, instance.Upstream(s.Instance, s.credential, p.Node), s.view.Epoch.System)
			if err != nil {
				s.Log.Debug("a peer's position is not known", "peer", p.Node, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			positions[p.Node] = at
		})
	}
	asking.Wait()
	s.positions, s.askedAt, s.judged = positions, time.Now(), false
}

// gather compares this host, which is to be promoted, with the others of its quorum,
// and says whether it is getting from one of them what it lacks.
func (s *Supervisor) gather(ctx context.Context) (catching bool, err error) {
	if s.seen.role != ha.Standby || !ha.Elects(s.candidate()) {
		return false, nil
	}
	s.askPeers(ctx)
	s.observe(ctx)
	ahead := ha.Ahead(s.candidate())
	if ahead == "" {
		return false, nil
	}
	// The loop stands still meanwhile, but it does not hang: see stuck.
	s.feed()
	if s.follows != ahead {
		s.Log.Info(fmt.Sprintf("%s has more of the last commits, at %s: getting them before the promotion", ahead, s.positions[ahead]))
	}
	return true, s.catchUp(ctx, ahead)
}

// catchUp follows another standby, which has no slot for this host.
func (s *Supervisor) catchUp(ctx context.Context, node string) error {
	settings, err := instance.Settings(s.Instance, s.credential, node, nil)
	if err != nil {
		return err
	}
	settings.Slot, settings.Failover = "", s.outliveFailover()
	if err := s.apply(ctx, settings); err != nil {
		return err
	}
	s.follows = node
	return nil
}

// advance is when a position was last seen to get on.
type advance struct {
	position ha.LSN
	at       time.Time
}

// stuck says whether it has not for too long.
func (a *advance) stuck(position ha.LSN) bool {
	if position > a.position {
		a.position, a.at = position, time.Now()
	}
	return time.Since(a.at) > ha.CatchUpPatience
}
