package supervisor

import (
	"context"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
)

// logicalPeriod is how often the settings for failover slots are brought in
// order: the server refuses a slot that is not there yet.
const logicalPeriod = 5 * time.Second

// outliveFailover says whether logical slots are to outlive a failover: where
// the administrator has set wal_level=logical and PostgreSQL can do it. Without
// that level the settings would keep a standby from running, so what counts is
// the level in force, which no reload changes.
func (s *Supervisor) outliveFailover() bool {
	answers := s.seen.role == ha.Primary || s.seen.role == ha.Standby
	return answers && s.seen.look.Version >= 170000 && s.seen.look.WALLevel == "logical"
}

// keepLogical sets what an activation could not, which does not know the level
// in force, and what the server did not take.
func (s *Supervisor) keepLogical(ctx context.Context) {
	if !s.outliveFailover() || s.conn == nil || time.Now().Before(s.logicalDue) {
		return
	}
	var upstream string
	var required []string
	switch look := s.seen.look; {
	case s.seen.role == ha.Standby && s.follows != "" && look.Receiver.Streaming() && !look.SyncsSlots:
		upstream = s.follows
	case s.seen.role == ha.Primary && s.view.Epoch.Node == s.Instance.Node && look.StandbySlots != s.standbySlots():
		required = s.required()
	default:
		return
	}
	s.logicalDue = time.Now().Add(logicalPeriod)
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.configure(ctx, upstream, required, s.spared()); err != nil {
		s.Log.Warn("logical slots may not outlive a failover", "error", err)
	}
}

// standbySlots is the value of synchronized_standby_slots that goes with what
// commits wait for.
func (s *Supervisor) standbySlots() string {
	var slots []string
	for _, node := range s.required() {
		slots = append(slots, config.SlotFor(s.Instance, node))
	}
	return strings.Join(slots, ", ")
}
