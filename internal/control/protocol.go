// Package control is the conversation with an instance's supervisor: one JSON
// request and one JSON answer, each on a line, over a root-only socket.
package control

import (
	"time"

	"pgtwin/internal/ha"
)

// Verb is what the supervisor is asked to do.
type Verb string

// The verbs.
const (
	Status     Verb = "status"     // the state as of a fresh look at PostgreSQL
	Promote    Verb = "promote"    // check, record the epoch, promote
	Checkpoint Verb = "checkpoint" // make a following shutdown short
	Release    Verb = "release"    // a standby about to stop declares itself behind
	Reload     Verb = "reload"     // the instance file has changed
)

// Request asks the supervisor for one thing.
type Request struct {
	Verb     Verb
	Deadline time.Time // when the caller gives up
}

// Answer is the supervisor's reply. Error is set where the request was not
// carried out; State is filled in either case.
type Answer struct {
	Error string `json:",omitempty"`
	State State
}

// Phase is what the activation of the database is doing.
type Phase string

// The phases, in the order in which they can occur.
const (
	PhaseStopped   Phase = "stopped"
	PhaseChecking  Phase = "checking"  // what a start needs is looked at
	PhaseWaiting   Phase = "waiting"   // for a primary, a grant, a host: Detail says for what
	PhaseInit      Phase = "initdb"    // the first database of a new cluster
	PhaseRewinding Phase = "rewinding" // pg_rewind
	PhaseCloning   Phase = "cloning"   // pg_basebackup
	PhaseStarting  Phase = "starting"  // PostgreSQL starts, crash recovery included
	PhaseRunning   Phase = "running"
	PhaseFailed    Phase = "failed"
)

// Progress is what an activation writes to /run/pgtwin/NAME/progress.json for
// the agent, the supervisor and status. It is removed with the unit's runtime.
type Progress struct {
	Phase  Phase
	Detail string `json:",omitempty"`
	Done   int64  `json:",omitempty"` // bytes
	Total  int64  `json:",omitempty"` // bytes, 0 = not known
	Rate   int64  `json:",omitempty"` // bytes per second of late, 0 = not known
	// Comparing says that the activation still compares collation versions of the programs with the
	// record: the server must not be promoted yet, because it may be stopped again.
	Comparing bool `json:",omitempty"`
	// TLSCopies says that the server was started with copies of its TLS files from an earlier start.
	TLSCopies bool `json:",omitempty"`
	// Code is the OCF exit code that a failure amounts to (PhaseFailed).
	Code    int    `json:",omitempty"`
	Runtime string `json:",omitempty"` // host, podman or docker, once it is known
	Image   string `json:",omitempty"` // digest or id of the image in use
	// HotStandbyOff says that the server was started with hot_standby=off: as a standby it takes no
	// sessions, and it is to be promoted so that lowered settings come into use.
	HotStandbyOff bool `json:",omitempty"`
	// Lowering says that the server was started with more than the administrator's files say, because the
	// WAL was written with as many (pg.Lowerings): the promotion of the last primary would lower that.
	Lowering bool `json:",omitempty"`
	Since    time.Time
	Updated  time.Time
}

// State is everything that is known of the instance on this node. It is the
// answer on the control socket, the content of /run/pgtwin/NAME/status.json
// and the source of metrics, health and `pgtwin status`.
type State struct {
	Instance string
	Resource string
	Node     string
	Updated  time.Time

	Role     ha.Role
	Phase    Phase
	Detail   string    `json:",omitempty"` // what is being done or waited for, in words
	Blind    bool      `json:",omitempty"` // it runs in this role, but does not answer pgtwin's questions: positions and standbys are of an earlier time
	Stalled  bool      `json:",omitempty"` // primary: its disk takes no WAL
	Yielding bool      `json:",omitempty"` // the primary died or hangs, and a peer is to take over
	Progress *Progress `json:",omitempty"`

	System   uint64      `json:",omitempty"`
	Version  int         `json:",omitempty"` // server_version_num
	Timeline ha.Timeline `json:",omitempty"`
	LSN      ha.LSN      // written on a primary; the greater of received and replayed on a standby
	Replayed ha.LSN      // standby
	Started  time.Time   `json:",omitzero"`  // postmaster start
	PID      int         `json:",omitempty"` // postmaster, in the host's PID namespace

	Epoch     *ha.Epoch `json:",omitempty"`
	InSync    bool      // recorded as holding every acknowledged commit of this epoch
	Score     int
	Quorate   bool
	Fencing   bool
	Sync      string `json:",omitempty"` // synchronous_standby_names as in force
	Upstream  string `json:",omitempty"` // standby: node it follows
	Receiving bool   // standby: the WAL receiver streams
	// UpstreamLSN is, on a standby, the position that the upstream last reported.
	UpstreamLSN ha.LSN  `json:",omitzero"`
	LagBytes    int64   // standby: behind the upstream's last known position
	LagSeconds  float64 // standby: age of the last replayed transaction while behind
	// Committed is, on a standby, when the last replayed transaction was committed.
	Committed time.Time `json:",omitzero"`

	Standbys    []Standby `json:",omitempty"` // primary: as it sees them
	Replaced    []string  `json:",omitempty"` // copies of the data directory that were replaced and are kept
	Runtime     string    // host, podman or docker
	Image       string    `json:",omitempty"`
	Warnings    []string  `json:",omitempty"` // whatever is unusual, in words
	WarnedSince time.Time `json:",omitzero"`  // since when there has been any
	// Advice is what an administrator should see to and what is no fault of the cluster's: Pacemaker is not
	// told of it.
	Advice    []string  `json:",omitempty"`
	LastCrash time.Time `json:",omitzero"`
	Crashes   int
}

// Standby is a walsender on the primary.
type Standby struct {
	Node     string
	State    string // as in pg_stat_replication
	Sync     string // as in pg_stat_replication.sync_state
	Flushed  ha.LSN
	Replayed ha.LSN
	LagBytes int64
	Slot     string
}
