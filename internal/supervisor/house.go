package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// housePeriod is how often what a primary owes its peers, and what an administrator should know of
// this server, is looked after.
const housePeriod = 10 * time.Second

// survey is what one round of housekeeping has found out.
type survey struct {
	asked  bool     // the administrator's synchronous_standby_names was read, and is
	wish   string   // this
	advice []string // for the administrator, the most serious first
	place  string   // the database in which a session is to be had, "": in none
	files  fileSurvey
	moved  bool // the peers come from other addresses than before
}

// keepHouse begins a round of housekeeping when one is due. It works beside the loop, on a session of
// its own: what it asks for takes locks on shared catalogs, and the loop must not wait for those.
func (s *Supervisor) keepHouse() {
	if s.housing || time.Since(s.houseAt) < housePeriod || s.seen.role != ha.Primary && s.seen.role != ha.Standby {
		return
	}
	s.housing, s.houseAt = true, time.Now()
	h := house{
		instance: s.Instance, credential: s.secret.wanted, inUse: s.credential, passFile: s.secret.file, log: s.Log, timeline: s.seen.look.Timeline,
		pending: s.seen.look.PendingRestart, members: len(s.view.Nodes), tlsCopies: s.seen.progress.TLSCopies,
		primary: s.seen.role == ha.Primary && s.view.Epoch.Node == s.Instance.Node, writes: s.seen.role == ha.Primary,
	}
	for _, node := range s.view.Nodes {
		h.nodes = append(h.nodes, node.Node)
	}
	s.background.Go(func() {
		found := h.keep(s.life)
		select {
		case s.surveys <- found:
		case <-s.life.Done():
		}
	})
}

// house is one round of housekeeping: a snapshot of what it goes by.
type house struct {
	instance   config.Instance
	credential pg.Credential // in the password file
	inUse      pg.Credential // by which the configuration is written
	passFile   string
	log        *slog.Logger
	primary    bool // of the recorded epoch
	writes     bool // is a primary, of the recorded epoch or not
	timeline   ha.Timeline
	pending    []string // settings that wait for a restart
	members    int      // of the cluster
	nodes      []string // of the cluster
	tlsCopies  bool     // the server was started with copies of its TLS files
}

// keep looks after everything once. What fails is logged and tried again at the next round.
func (h house) keep(ctx context.Context) (found survey) {
	ctx, cancel := context.WithTimeout(ctx, housePeriod)
	defer cancel()
	defer h.lookAtFiles(&found)
	conn, err := pg.ConnectServer(ctx, instance.Local(h.instance))
	if err != nil {
		h.log.Debug("no session for the housekeeping", "error", err)
		return found
	}
	defer conn.Close(ctx)
	found.place = conn.Database()
	if h.primary { // its peers wait for this
		err = errors.Join(h.prepareRole(ctx, conn, &found), h.ensureCheckpoint(ctx, conn), h.askWish(ctx, conn, &found))
	}
	err = errors.Join(err, h.checkFiles(ctx, conn, &found), h.checkNetwork(ctx, conn, &found), h.adviseSettings(ctx, conn, &found))
	if err != nil {
		level := slog.LevelWarn
		if conn.Closed() && ctx.Err() == nil {
			level = slog.LevelDebug // the server has ended, which others report
		}
		h.log.Log(ctx, level, "cannot complete the set-up", "error", err)
	}
	return found
}

// prepareRole gives the peers the replication role that they need of a primary, and finds out what keeps
// them from using it all the same.
func (h house) prepareRole(ctx context.Context, conn *pg.Conn, found *survey) error {
	if h.credential.User == "" {
		return nil
	}
	var refused error
	if h.credential.Managed {
		refused = conn.EnsureReplicationRole(ctx, h.credential.User, h.credential.Password)
	}
	if refused != nil {
		found.advice = append(found.advice, refused.Error())
	}
	problems, err := conn.RoleProblems(ctx, h.credential, h.passFile, h.members-1)
	found.advice = append(found.advice, problems...)
	return errors.Join(refused, err)
}

// ensureCheckpoint writes the first checkpoint of a new timeline, before which pg_rewind would find
// nothing to do (pg_rewind(1), Notes).
func (h house) ensureCheckpoint(ctx context.Context, conn *pg.Conn) error {
	c, err := pg.ReadControl(h.instance.PGData)
	if err != nil || c.Timeline == h.timeline {
		return err
	}
	return conn.Checkpoint(ctx)
}

// askWish reads the administrator's synchronous_standby_names by PostgreSQL's own eyes.
func (h house) askWish(ctx context.Context, conn *pg.Conn, found *survey) (err error) {
	found.wish, err = conn.AdministratorsSynchronous(ctx)
	found.asked = err == nil
	return err
}

// take makes a survey known to the loop.
func (s *Supervisor) take(ctx context.Context, found survey) {
	s.housing, s.advice = false, found.advice
	if s.conn != nil && found.place != "" && s.conn.Database() != found.place {
		s.disconnect() // while a session is in template1, no database can be made from it
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := s.tendFiles(ctx, found.files); err != nil {
		s.Log.Warn("cannot bring the configuration files in order", "error", err)
	}
	s.tellLocalRule(found.files.state.LocalPassword)
	if err := s.follow(ctx, found.moved); err != nil {
		s.Log.Warn("a peer may be refused: the access rules have its old addresses", "error", err)
	}
	if !found.asked {
		return
	}
	if err := s.heedWish(ctx, found.wish); err != nil {
		s.Log.Warn("the administrator's order of standbys is not in force", "error", err)
	}
}

// enforceLimit bounds a checkpoint that is waited for; a large one is begun
// anew, with less left to write.
const enforceLimit = 5 * time.Minute

// enforce makes sure that commits wait for the standbys that every session
// says they wait for. Sessions go by a flag that the checkpointer sets when it
// reads the configuration (SyncRepUpdateSyncStandbysDefined in syncrep.c), and
// it may be at work on a slow disk then. A checkpoint that is asked for now
// begins after it has.
func (s *Supervisor) enforce() {
	if s.seen.role != ha.Primary || s.enforced == s.settings || s.enforcing > 0 || !s.awaitsRecord() {
		return
	}
	s.enforcing = s.settings
	setting := s.settings
	target := instance.Local(s.Instance)
	s.background.Go(func() {
		limited, cancel := context.WithTimeout(s.life, enforceLimit)
		defer cancel()
		conn, err := pg.ConnectServer(limited, target)
		if err == nil {
			err = errors.Join(conn.Checkpoint(limited), conn.Close(limited))
		}
		if err != nil {
			s.Log.Warn("cannot make sure that commits wait for the standbys", "error", err)
		}
		select {
		case s.enforcements <- enforcement{setting, err == nil}:
		case <-s.life.Done():
		}
	})
}

// awaitsRecord says whether a standby that commits are to wait for is not on
// record as complete.
func (s *Supervisor) awaitsRecord() bool {
	required := s.required()
	return s.view.Spare > s.spared() || slices.ContainsFunc(s.view.Nodes, func(m ha.Membership) bool {
		return m.InSync != s.view.Epoch.Number && slices.Contains(required, m.Node)
	})
}
