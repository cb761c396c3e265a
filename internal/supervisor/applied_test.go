package supervisor

import (
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

func TestCommitsThatWaitForAReplayAreTold(t *testing.T) {
	const flushed, replayed = 0x5000, 0x4000
	for _, c := range []struct {
		name   string
		commit string
		looks  []ha.LSN // of the replay, six seconds apart
		want   bool
	}{
		{"it stands still", "remote_apply", []ha.LSN{replayed, replayed, replayed}, true},
		{"nobody waits for it", "on", []ha.LSN{replayed, replayed, replayed}, false},
		{"not for long", "remote_apply", []ha.LSN{replayed, replayed}, false},
		{"it goes on", "remote_apply", []ha.LSN{replayed, replayed + 1, replayed + 2}, false},
		{"it has stood still", "remote_apply", []ha.LSN{replayed, replayed, flushed, replayed}, false},
		{"there is nothing to replay", "remote_apply", []ha.LSN{flushed, flushed, flushed}, false},
	} {
		s := supervising(ha.Primary, "h2")
		s.overrides.heeded.Commit = c.commit
		s.seen.look.Synchronous = `"h2"`
		for n, at := range c.looks {
			s.seen.at = time.Unix(int64(1000+6*n), 0)
			s.seen.look.Walsenders = []pg.Walsender{{ApplicationName: "h2", State: "streaming", SyncState: "sync", Flushed: flushed, Replayed: at}}
			s.noteApplied(s.seen)
		}
		text := strings.Join(s.unapplied(), "\n")
		if got := strings.Contains(text, "commits wait until h2 has replayed them"); got != c.want {
			t.Errorf("%s: %q", c.name, text)
		}
	}
}
