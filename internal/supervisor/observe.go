package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/storage"
	"pgtwin/internal/units"
)

// observation is one look at this host.
type observation struct {
	at       time.Time
	role     ha.Role
	look     pg.Look // of the last time that PostgreSQL answered
	blind    bool    // it runs, in this role, and the look is of an earlier time
	hold     hold    // of the replay of a standby
	err      error   // why it does not answer now
	progress control.Progress
	intent   control.Intent
	data     bool // there is a database in the data directory
	unsound  bool
	control  pg.Control // while PostgreSQL is down
	replays  bool       // a standby has got on since the look before
	news     bool       // something changed that the cluster's view should be fresh for
}

// observe looks at the processes, PostgreSQL and our own files.
func (s *Supervisor) observe(ctx context.Context) {
	before := s.seen
	seen := observation{at: time.Now(), role: ha.Down, look: before.look}
	var err error
	if seen.intent, err = control.ReadIntent(config.Intent(s.Instance.Name)); err != nil {
		s.Log.Warn("cannot tell a stop from a death", "error", err)
	}
	if err := control.ReadJSON(config.ProgressFile(s.Instance.Name), &seen.progress); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Warn("cannot read the progress", "error", err)
	}
	s.findServer(seen.progress.Phase)
	if s.server != nil {
		s.askServer(ctx, &seen)
	} else {
		s.disconnect()
		s.lookAtData(&seen)
	}
	seen.news = seen.role != before.role || seen.progress.Phase != before.progress.Phase || leaves(before, seen)
	if seen.role != before.role || seen.progress.Phase != before.progress.Phase {
		s.changed = seen.at
	}
	if !seen.blind { // it says nothing new
		stalls := seen.role == ha.Primary && seen.look.Unwritten > 0 && seen.look.Flushed == before.look.Flushed
		s.stalled = firstTime(s.stalled, seen.at, stalls)
		s.stream.note(seen)
		s.noteApplied(seen)
	}
	seen.replays = seen.look.Replayed > before.look.Replayed
	if seen.look.Synchronous != before.look.Synchronous {
		s.settings++
	}
	s.seen = seen
}

// leaves says whether a standby has gone since the look before, or is about to.
func leaves(before, now observation) bool {
	return now.role == ha.Primary &&
		(len(now.look.Walsenders) < len(before.look.Walsenders) || now.look.Farewells > 0)
}

// findServer keeps hold of the postmaster. What runs in the data directory
// during a rewind or an initdb is not the database.
func (s *Supervisor) findServer(phase control.Phase) {
	if s.server != nil && s.server.Alive() {
		return
	}
	s.server = nil
	if phase != control.PhaseStarting && phase != control.PhaseRunning {
		return
	}
	found, err := postmaster.Find(s.Instance.PGData)
	if err != nil {
		s.Log.Warn("cannot look for the postmaster", "error", err)
		return
	}
	if found == nil {
		return
	}
	s.server, s.mainPID = found, 0
	s.background.Go(func() { s.awaitDeath(s.life, *found) })
}

// awaitDeath wakes the loop at the moment the postmaster ends.
func (s *Supervisor) awaitDeath(ctx context.Context, server postmaster.Process) {
	if server.Done(ctx) != nil {
		return
	}
	select {
	case s.deaths <- server:
	case <-ctx.Done():
	}
}

// askServer asks PostgreSQL, on a new connection where the old one failed.
func (s *Supervisor) askServer(ctx context.Context, seen *observation) {
	if seen.progress.Comparing {
		return // not there yet: the activation may stop it again
	}
	if s.conn == nil {
		if accepts, err := pg.Accepts(s.Instance.PGData); err == nil && !accepts && seen.progress.Phase == control.PhaseStarting {
			return
		}
	}
	before := seen.look
	if seen.look, seen.err = s.question(ctx); seen.err == nil {
		s.silence, s.pulse, s.lookedAt = silence{}, nil, s.server
		seen.hold = s.askHold(ctx, seen.look)
	} else {
		seen.look = before
	}
	switch {
	case seen.err != nil && seen.progress.Phase == control.PhaseStarting:
		seen.role = ha.Down // recovering, not there yet
	case seen.err != nil:
		s.judge(ctx, seen)
	case seen.look.InRecovery:
		seen.role = ha.Standby
	default:
		seen.role = ha.Primary
	}
	// It may have died while being asked.
	if seen.role == ha.Unknown && !s.server.Alive() {
		s.server, seen.role, s.silence = nil, ha.Down, silence{}
		s.lookAtData(seen)
	}
	s.noteFailure(seen)
}

func (s *Supervisor) connect(ctx context.Context) (err error) {
	if s.conn != nil {
		return nil
	}
	s.conn, err = pg.ConnectServer(ctx, instance.Local(s.Instance))
	return err
}

func (s *Supervisor) disconnect() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx) // a connection that is given up may fail to end well
	s.conn = nil
}

// lookAtData reads what a server that is down has left.
func (s *Supervisor) lookAtData(seen *observation) {
	empty, err := pg.IsEmpty(s.Instance.PGData)
	if err != nil {
		s.Log.Warn("cannot look at the data directory", "error", err)
		return
	}
	seen.data = !empty
	if _, seen.unsound, err = storage.Marked(config.MarkerFile(s.Instance.Name)); err != nil {
		s.Log.Warn("cannot read the marker", "error", err)
		seen.unsound = true
	}
	if !seen.data || seen.unsound {
		return
	}
	if seen.control, err = pg.ReadControl(s.Instance.PGData); err != nil {
		s.Log.Debug("cannot read the control file", "error", err)
		seen.data = false
	}
}

// findMainPID asks systemd for the process that the database unit's status
// line belongs to.
func (s *Supervisor) findMainPID(ctx context.Context) error {
	if s.mainPID != 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	systemd, err := units.Connect(ctx)
	if err != nil {
		return err
	}
	defer systemd.Close()
	state, err := systemd.State(ctx, units.Database(s.Instance.Name))
	if err != nil {
		return err
	}
	if state.ActiveState == "active" {
		s.mainPID = int(state.MainPID)
	}
	return nil
}

// crashes is kept across reboots.
type crashes struct {
	Count int
	Last  time.Time
	// ByHand is the status's sentence on a standby that somebody promoted by hand, and was stopped for that; "": nobody did.
	ByHand   string    `json:",omitempty"`
	ByHandAt time.Time `json:",omitzero"`
}

func readCrashes(name string) (c crashes, err error) {
	err = control.ReadJSON(config.CrashFile(name), &c)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	return c, err
}

// sender is the connection of a node's standby, nil without one.
func (s *Supervisor) sender(node string) *pg.Walsender {
	name := config.ApplicationNameOf(s.Instance, node)
	for i := range s.seen.look.Walsenders {
		if s.seen.look.Walsenders[i].ApplicationName == name {
			return &s.seen.look.Walsenders[i]
		}
	}
	return nil
}

// required lists the nodes in synchronous_standby_names as in force.
func (s *Supervisor) required() []string {
	var nodes []string
	for _, node := range s.view.Nodes {
		name := config.ApplicationNameOf(s.Instance, node.Node)
		if node.Node != s.Instance.Node && strings.Contains(s.seen.look.Synchronous, strconv.Quote(name)) {
			nodes = append(nodes, node.Node)
		}
	}
	slices.Sort(nodes) // as decisions have them; the view is in the order of ids
	return nodes
}
