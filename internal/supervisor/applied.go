package supervisor

import (
	"fmt"
	"time"

	"pgtwin/internal/ha"
)

// applyPatience is how long a standby that commits wait for may replay nothing of what it has.
const applyPatience = 10 * time.Second

// applied is how far a standby had replayed, and since when that has not changed although there is more to replay.
type applied struct {
	at    ha.LSN
	since time.Time
}

// noteApplied follows the replay of the standbys that commits wait for.
func (s *Supervisor) noteApplied(seen observation) {
	now := map[string]applied{}
	for _, w := range seen.look.Walsenders {
		if w.State != "streaming" || w.Replayed >= w.Flushed {
			continue
		}
		before, known := s.replays[w.ApplicationName]
		if !known || before.at != w.Replayed {
			before = applied{w.Replayed, seen.at}
		}
		now[w.ApplicationName] = before
	}
	s.replays = now
}

// unapplied are warnings of commits that wait for a standby's replay, which synchronous_commit=remote_apply asks for. A pause or a
// query on that standby may hold it up for ever.
func (s *Supervisor) unapplied() (all []string) {
	if s.overrides.heeded.Commit != "remote_apply" || s.seen.blind {
		return nil
	}
	for _, node := range s.required() {
		sender := s.sender(node)
		if sender == nil {
			continue
		}
		if held, ok := s.replays[sender.ApplicationName]; ok && s.seen.at.Sub(held.since) >= applyPatience {
			all = append(all, fmt.Sprintf("commits wait until %s has replayed them (synchronous_commit=remote_apply), and it has replayed nothing for %s: "+
				"pgtwin status there says whether its replay is paused or a query is in the way; synchronous_commit = on in postgresql.conf here does not wait for that",
				node, s.seen.at.Sub(held.since).Round(time.Second)))
		}
	}
	return all
}
