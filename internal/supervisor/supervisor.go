// Package supervisor watches one instance for as long as Pacemaker runs it:
// observe, let package ha decide, act. It starts no database and holds none
// up: it can be killed and restarted at any time and finds its bearings from
// what it observes.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

// Cluster is what the supervisor asks and tells Pacemaker.
type Cluster interface {
	Read(ctx context.Context) (cluster.View, error)
	Write(ctx context.Context, v cluster.View, r cluster.Record) error
	Knows(ctx context.Context, peer string, epoch ha.Epoch) (bool, error)
	SetScore(ctx context.Context, node string, score int) error
	SetAttribute(ctx context.Context, name, value string) error
	Fail(ctx context.Context, node string) error
}

// How often the supervisor looks. A look is one SQL round trip; reading the
// cluster costs a process and 30 ms of CPU, so it is done less often while
// nothing changes.
const (
	settledLook    = 250 * time.Millisecond
	unsettledLook  = 100 * time.Millisecond
	settledRead    = 2 * time.Second
	unsettledRead  = time.Second
	clusterTimeout = 4 * time.Second // the loop waits for it, and status.json with it
	lookTimeout    = 3 * time.Second
)

// Supervisor is the state of the loop; one goroutine owns it.
type Supervisor struct {
	Instance config.Instance
	Cluster  Cluster
	Log      *slog.Logger

	credential   pg.Credential // that works, as far as is known
	secret       secret
	requests     chan request
	deaths       chan postmaster.Process
	enforcements chan enforcement
	copies       chan []string
	inquiries    chan inquiry
	surveys      chan survey
	glances      chan glance
	collated     chan collated
	background   sync.WaitGroup
	// life is the loop's context: what goes on in the background outlives the
	// request in whose course it began.
	life context.Context

	conn       *pg.Conn
	server     *postmaster.Process // the postmaster, nil when none runs
	mainPID    int                 // of the database unit, for its status line
	seen       observation
	view       cluster.View
	viewAt     time.Time // zero: read at the next look
	memory     ha.Memory
	allowance  ha.Allowance
	positions  map[string]ha.LSN // of peers, as last asked for
	askedAt    time.Time
	judged     bool // whether this standby lags has been judged by these positions
	lagging    bool
	unserved   time.Time // since when no WAL has come in from the recorded primary
	wish       wish
	settings   int      // how often synchronous_standby_names has been seen to change
	enforced   int      // for which of the changes it is proven that commits go by it
	enforcing  int      // for which of them that is being proven, 0 for none
	latest     ha.Epoch // the latest that this host has seen
	rank       int      // the highest that a record of ours was given, whatever became of it
	history    ha.History
	settled    bool
	yielded    time.Time // when this host stood back after a crash
	reported   time.Time // start of the activation whose failure was reported
	diverged   time.Time
	stalled    time.Time // since when the disk has taken no WAL, while sessions wait for that
	silence    silence   // how long nothing has shown that PostgreSQL is alive
	pulses     chan pulse
	feeling    bool                // a pulse is being read
	pulse      *pg.Pulse           // the latest since PostgreSQL last answered; nil: none
	lookedAt   *postmaster.Process // the server that the latest look is of; nil: none
	refusal    error               // with which the server answered the latest question; nil: it answered it
	refusedAt  time.Time
	fedAt      time.Time // systemd's watchdog
	failure    string    // why the latest look failed, as logged; "": it did not
	replay     replaySettings
	warned     time.Time // since when something is unusual
	follows    string    // node in primary_conninfo
	loaded     time.Time // the configuration, when the access rules were copied last
	houseAt    time.Time
	housing    bool     // a round of housekeeping is under way
	advice     []string // what the last one found out for the administrator
	overrides  overrides
	replays    map[string]applied // of the standbys, by application name
	heed       heeding
	localRule  string             // the rule of pg_hba.conf that was told to have no effect
	moved      bool               // peers have other addresses than the access rules
	triedFiles map[pg.Kind]string // FilePrint of access files that PostgreSQL would read without an error
	collations collations
	slotsDue   time.Time
	logicalDue time.Time
	stream     stream
	dry        time.Time // since when a standby has received and replayed nothing
	awaited    time.Time // when it last had replayed all that is there
	repairs    ha.Repairs
	complaint  string  // why nothing is received, and what is not tried any more
	inquiry    inquiry // the latest that has ended
	inquiring  bool
	tendedAt   time.Time // when the replaced copies were last looked after
	tending    bool
	replaced   []string // copies of the data that are kept
	crashes    crashes
	said       string // status line
	unfound    string // why the database unit was not found last, as it was logged
	summary    string // as published for the other hosts
	changed    time.Time
}

// enforcement is the end of an attempt to prove that commits go by a setting.
type enforcement struct {
	setting int
	proven  bool
}

// request is a question on the control socket.
type request struct {
	ctx   context.Context
	verb  control.Verb
	reply chan control.Answer
}

// Run supervises until ctx ends.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	listener, err := control.Listen(config.ControlSocket(s.Instance.Name))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s.life = ctx
	defer s.background.Wait()
	defer cancel()
	served := make(chan error, 1)
	s.background.Go(func() { served <- control.Serve(ctx, listener, s.forward, s.Log) })
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("cannot tell systemd that the supervisor is ready: %w", err)
	}
	s.Log.Info("supervising "+s.Instance.PGData, "resource", s.Instance.Resource)
	return s.loop(ctx, served)
}

func (s *Supervisor) begin() (err error) {
	s.requests = make(chan request)
	s.deaths = make(chan postmaster.Process, 1)
	s.enforcements = make(chan enforcement)
	s.copies = make(chan []string)
	s.inquiries = make(chan inquiry)
	s.surveys = make(chan survey)
	s.glances = make(chan glance)
	s.collated = make(chan collated)
	s.changed = time.Now()
	if s.crashes, err = readCrashes(s.Instance.Name); err != nil {
		return err
	}
	s.recallRepairs()
	if s.latest, err = control.ReadEpoch(config.EpochFile(s.Instance.Name)); err != nil {
		return err
	}
	return s.beginSecret()
}

func (s *Supervisor) loop(ctx context.Context, served <-chan error) error {
	defer s.disconnect()
	for {
		s.tick(ctx)
		s.feed()
		wait := settledLook
		if !s.settled {
			wait = unsettledLook
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case <-s.deaths:
		case e := <-s.enforcements:
			s.enforcing = 0
			if e.proven {
				s.enforced = e.setting
			}
		case s.replaced = <-s.copies:
			s.tending = false
		case s.inquiry = <-s.inquiries:
			s.inquiring = false
		case found := <-s.surveys:
			s.take(ctx, found)
		case g := <-s.glances:
			s.takeSecret(g)
		case found := <-s.collated:
			s.collate(found)
		case r := <-s.requests:
			r.reply <- s.answer(r)
		case <-time.After(wait):
		}
	}
}

// forward hands a request to the loop and waits for its answer.
func (s *Supervisor) forward(ctx context.Context, verb control.Verb) control.Answer {
	r := request{ctx, verb, make(chan control.Answer, 1)}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return control.Answer{Error: "the supervisor is busy"}
	}
	select {
	case answer := <-r.reply:
		return answer
	case <-ctx.Done():
		return control.Answer{Error: fmt.Sprintf("%s took too long", verb)}
	}
}

// tick is one round: observe, decide, act, show.
func (s *Supervisor) tick(ctx context.Context) {
	s.observe(ctx)
	s.reclaim(ctx)
	if !s.seen.blind { // the look is of another time, and there may be no session
		s.takeIn(ctx)
		s.heedFiles(ctx)
	}
	s.keepSecret(ctx)
	s.readCluster(ctx)
	acted, failed := false, false
	if !s.viewAt.IsZero() {
		s.compare(ctx)
		facts := s.facts()
		s.complaint = s.complain(facts)
		for _, action := range ha.Decide(facts) {
			acted = true
			if err := s.act(ctx, action); err != nil {
				failed = true
				s.Log.Warn(fmt.Sprintf("cannot %s: %v", action.Verb, err), "why", action.Why)
			}
		}
		if !s.seen.blind {
			s.enforce()
			s.keepSlots(ctx)
			s.keepLogical(ctx)
		}
		s.keepHouse()
		s.keepCollations()
		s.tendCopies()
	}
	if failed {
		s.viewAt = time.Time{} // perhaps the view was wrong
	}
	s.settled = !acted && s.steady()
	s.show(ctx)
}

// steady says whether nothing is under way that a quick look would help.
func (s *Supervisor) steady() bool {
	switch s.seen.role {
	case ha.Primary:
		for _, p := range s.view.Nodes {
			if p.Node != s.Instance.Node && p.Online && p.InSync != s.view.Epoch.Number {
				return false
			}
		}
		return s.view.Spare == s.spared()
	case ha.Standby:
		self := s.self()
		return s.seen.look.Receiver.Streaming() && self.InSync == s.view.Epoch.Number && (self.Score == ha.EligibleScore || self.Score == ha.ChangedScore)
	}
	return false
}

// readCluster refreshes the view when it is due. While Pacemaker does not
// answer the old view stands: nothing that needs a record can be done anyway.
func (s *Supervisor) readCluster(ctx context.Context) {
	due := settledRead
	if !s.settled {
		due = unsettledRead
	}
	age := time.Since(s.viewAt)
	// A dead primary with a successor yields on what is known: every moment counts.
	yields := age < 2*settledRead && s.died() && ha.Successor(s.candidate()) != ""
	if age < due && !s.seen.news || yields {
		return
	}
	if err := s.refresh(ctx); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, cluster.ErrNotConnected) {
			level = slog.LevelDebug
		}
		s.Log.Log(ctx, level, "cannot read the cluster", "error", err)
	}
}

func (s *Supervisor) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	view, err := s.Cluster.Read(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	s.memory.Read(now, view.Epoch, others(view, s.Instance.Node), s.senders())
	if s.rank == 0 {
		s.rank = ha.OldRank(view.Rank)
	}
	s.allowance.Read(now, view.Spare)
	s.view, s.viewAt = view, now
	s.know(view.Epoch)
	return nil
}

// answer carries out one request, in the loop.
func (s *Supervisor) answer(r request) control.Answer {
	var err error
	switch r.verb {
	case control.Status:
		// A death is acted on before it is reported.
		if s.observe(r.ctx); s.seen.news {
			s.tick(r.ctx)
		}
	case control.Promote:
		err = s.promote(r.ctx)
		s.show(r.ctx) // load balancers need not wait for the next look
	case control.Checkpoint:
		err = s.checkpoint(r.ctx)
	case control.Release:
		err = s.release(r.ctx)
	case control.Reload:
		err = s.reload(r.ctx)
	default:
		err = fmt.Errorf("the supervisor does not know %q: is the agent newer?", r.verb)
	}
	answer := control.Answer{State: s.state()}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}

func (s *Supervisor) checkpoint(ctx context.Context) error {
	if s.conn == nil {
		return errors.New("PostgreSQL does not answer")
	}
	return s.fed(func() error { return s.conn.Checkpoint(ctx) })
}

// release declares this standby behind before it stops and waits for the
// primary to take note: commits do not wait for a standby that stops. Where
// nobody streams to it there is nobody to release, and its record must stand:
// it may be the most complete.
func (s *Supervisor) release(ctx context.Context) error {
	s.observe(ctx)
	if s.seen.role != ha.Standby || !s.seen.look.Receiver.Streaming() || ha.Mode(s.Instance.RepMode) == ha.Strict {
		return nil // in strict mode commits wait for its return
	}
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if !s.view.Quorate || s.self().InSync != s.view.Epoch.Number {
		return nil // without quorum a record would stay on this side of a split
	}
	if err := s.declareBehind(ctx); err != nil {
		return err
	}
	return pg.AwaitRelease(ctx, instance.Upstream(s.Instance, s.credential, s.view.Epoch.Node), s.Instance.ApplicationName)
}

// declareBehind takes back the record that this standby is complete. It raises no rank: the primary
// writes over it before commits stop waiting.
func (s *Supervisor) declareBehind(ctx context.Context) error {
	if err := s.Cluster.Write(ctx, s.view, cluster.Record{InSync: map[string]int{s.Instance.Node: 0}}); err != nil {
		return err
	}
	s.known(s.Instance.Node, func(m *ha.Membership) { m.InSync = 0 })
	return nil
}

// reload takes over a changed instance file.
func (s *Supervisor) reload(ctx context.Context) error {
	i, err := config.ReadInstance(s.Instance.Name)
	if err != nil {
		return err
	}
	s.Instance = i
	if s.server == nil {
		return nil
	}
	return s.configure(ctx, s.follows, s.required(), s.spared())
}
