package pg

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"pgtwin/internal/ha"
)

// Look is a server as seen in one round trip. What does not apply to its role is zero.
type Look struct {
	InRecovery    bool
	System        uint64
	Version       int // server_version_num, for example 150018
	DataDirectory string
	Started       time.Time // of the postmaster
	ConfLoaded    time.Time // last reload of the configuration
	Timeline      ha.Timeline
	Synchronous   string // synchronous_standby_names as in force
	// SynchronousFrom is the file that it is from, "" for the default.
	SynchronousFrom string
	PendingRestart  []string // settings that were changed and wait for a restart

	WALLevel     string
	SyncsSlots   bool   // standby: it synchronises the primary's failover slots
	StandbySlots string // synchronized_standby_slots as in force

	// On a primary.
	Written    ha.LSN // handed to the operating system
	Flushed    ha.LSN // durable
	Walsenders []Walsender
	Unwritten  int // sessions that wait for the disk to take WAL
	Farewells  int // standbys that are about to stop, see AwaitRelease

	// On a standby.
	Received     ha.LSN // flushed by the WAL receiver since the server's start; 0 if it never ran
	Replayed     ha.LSN
	Redo         ha.LSN // where recovery would begin: WAL before it is not needed to start this server
	ReplayPaused bool
	AwaitsWAL    bool     // all that is here has been replayed
	Archive      bool     // restore_command is set: WAL may come from elsewhere, too
	Overridden   []string // settings of ours for replication that ALTER SYSTEM has replaced
	ReplayAge    *float64 // seconds since the commit of the last replayed transaction; nil if there was none
	Receiver     *Receiver

	Slots []ha.Slot
}

// Position is how far the server's WAL goes: written on a primary, the greater of received and
// replayed on a standby.
func (l Look) Position() ha.LSN {
	if !l.InRecovery {
		return l.Written
	}
	return max(l.Received, l.Replayed)
}

// Receiver is the WAL receiver of a standby.
type Receiver struct {
	PID        int
	Status     string // streaming, waiting, ...
	SenderHost string
	SenderPort int
	Slot       string
	Timeline   ha.Timeline
	LatestEnd  ha.LSN  // the sender's last reported position
	Silence    float64 // seconds since the sender's last message
}

// Streaming says whether WAL is coming in.
func (r *Receiver) Streaming() bool { return r != nil && r.Status == "streaming" }

// Walsender is a session that receives WAL: a standby or a backup.
type Walsender struct {
	ApplicationName string
	PID             int
	State           string // startup, catchup, streaming, backup, stopping
	SyncState       string // async, potential, sync, quorum
	Sent            ha.LSN
	Written         ha.LSN
	Flushed         ha.LSN
	Replayed        ha.LSN
	Address         string // "" for a unix socket
	Slot            string
}

//go:embed look.sql
var lookSQL string

// Look asks the server about itself. It writes nothing and takes no lock that anything waits for.
func (c *Conn) Look(ctx context.Context) (Look, error) {
	look, err := c.look(ctx)
	if hasCode(err, "55000") { // object_not_in_prerequisite_state: it was promoted while answering
		look, err = c.look(ctx)
	}
	if err != nil {
		return Look{}, fmt.Errorf("cannot look at %s: %w", c.target, brief(err))
	}
	return look, nil
}

func (c *Conn) look(ctx context.Context) (Look, error) {
	var answer []byte
	if err := c.session.QueryRow(ctx, lookSQL).Scan(&answer); err != nil {
		return Look{}, err
	}
	var look Look
	return look, json.Unmarshal(answer, &look)
}
