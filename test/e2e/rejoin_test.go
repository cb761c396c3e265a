//go:build lab

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

var (
	failovers  = flag.Int("failovers", 4, "how many failovers in a row TestRejoin plays")
	moments    = flag.Int("moments", 2, "at how many random moments a rewind, and a clone, is interrupted")
	rejoinSeed = flag.Uint64("moment-seed", 1, "the moments; 0: other ones each time")
)

// TestRejoin plays what becomes of a primary that has lost its role: it comes back by itself, on the history of its successor
// and of nobody else, whatever comes in between.
func TestRejoin(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	random := randomMoments(t)
	podman := cluster.Options{Containers: true, Notify: true, Tree: tree, Log: t.Output()}
	t.Run(modeName(podman), func(t *testing.T) {
		s := newStage(t, podman)
		s.play(scenario{"cold start", coldStart})
		s.play(scenario{"back and forth", backAndForth(*failovers)})
		s.play(scenario{"rewind killed", rewindKilled(*moments, random)})
		s.play(scenario{"power lost during a rewind", powerLostInRewind(random)})
		s.play(scenario{"foreign server in the primary's place", foreignServer})
		s.play(scenario{"two instances", twoInstances})
	})
}

// TestOlder plays on the release before, which has an older PostgreSQL and an older Pacemaker.
func TestOlder(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	older := cluster.Options{Containers: true, Base: "bookworm", Tree: tree, Log: t.Output()}
	t.Run("PostgreSQL "+lab.PostgreSQL(older.Base), func(t *testing.T) {
		s := newStage(t, older)
		s.play(scenario{"cold start", coldStart})
		s.play(scenario{"back and forth", backAndForth(min(2, *failovers))})
	})
}

// randomMoments is the source of the moments at which rewinds are interrupted; it logs its seed.
func randomMoments(t *testing.T) *rand.Rand {
	seed := *rejoinSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("to interrupt at the same moments again: -moment-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// How long a small database may take from its start after a demotion until it could take over again. What is only slow is
// reported: the machine may have other things to do.
const (
	rewindTime = 10 * time.Second
	cloneTime  = 15 * time.Second
	returnTime = 60 * time.Second
)

// backAndForth kills the primary again and again, and each time the other host takes over and the old one comes back.
func backAndForth(times int) func(*scene) {
	return func(s *scene) {
		var returns []comeback
		e := event.Event{Name: fmt.Sprintf("%d failovers in a row", times), Limit: 10 * time.Second}
		for range times {
			e.Steps = append(e.Steps, event.PostmasterKilled(s.c).Steps...)
			e.Steps = append(e.Steps, step("it did so by a rewind, without anybody's help", func(ctx context.Context) error {
				r, err := s.comeback(ctx)
				if err != nil {
					return err
				}
				returns = append(returns, r)
				return r.expect(byRewind)
			}))
		}
		s.run(e)
		s.Logf("  from its return until it could take over: %s", spread(returns))
	}
}

// run lets an event happen and logs what it cost.
func (s *scene) run(e event.Event) {
	s.Helper()
	r, err := event.Run(s.Context(), s.c, e, s)
	s.Logf("  without writes for %.1f s through the virtual address, %.1f s by direct connections; of %d acknowledged rows %d are lost",
		r.Virtual.Seconds(), r.Direct.Seconds(), r.Acknowledged, r.Lost)
	if err != nil {
		s.Fatal(err)
	}
}

// way is how data became a standby's.
type way string

const (
	asIs     way = "as they were"
	byRewind way = "by a rewind"
	byClone  way = "by a clone"
)

// comeback is the return of a former primary.
type comeback struct {
	way  way
	took time.Duration
	log  string // of the activation
}

// comeback asks how the standby, which has become one just now, has got there.
func (s *scene) comeback(ctx context.Context) (comeback, error) {
	var now unix.Timespec // systemd's clock, too: the hosts have no time namespace of their own
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return comeback{}, err
	}
	_, h := s.hosts()
	began, err := microseconds(ctx, h, "InactiveExitTimestampMonotonic")
	if err != nil {
		return comeback{}, err
	}
	log, err := activationLog(ctx, h)
	if err != nil {
		return comeback{}, err
	}
	r := comeback{way: wayOf(log), took: time.Duration(now.Nano()) - began, log: log}
	s.Logf("  %s was back after %.1f s, %s", h.Name(), r.took.Seconds(), r.way)
	if r.took <= 0 || r.took > returnTime {
		return r, fmt.Errorf("the return of %s took %s, at most %s is acceptable", h.Name(), r.took, returnTime)
	}
	return r, nil
}

// activationLog is what the last activation of the database said, and PostgreSQL in it.
func activationLog(ctx context.Context, h *lab.Host) (string, error) {
	id, err := cluster.Property(ctx, h, cluster.Unit, "InvocationID")
	if err != nil {
		return "", err
	}
	return h.Run(ctx, "journalctl", "--no-pager", "--output=cat", "_SYSTEMD_INVOCATION_ID="+id)
}

// wayOf reads the phases in an activation's log.
func wayOf(log string) way {
	switch {
	case strings.Contains(log, "cloning: from "):
		return byClone
	case strings.Contains(log, "rewinding: to "):
		return byRewind
	}
	return asIs
}

func (r comeback) expect(want way) error {
	if r.way != want {
		return fmt.Errorf("it came back %s, not %s:\n%s", r.way, want, r.log)
	}
	return nil
}

// spread is the times of some returns in words.
func spread(returns []comeback) string {
	var times []time.Duration
	for _, r := range returns {
		times = append(times, r.took)
	}
	if len(times) == 0 {
		return "not measured"
	}
	slices.Sort(times)
	text := fmt.Sprintf("median %.1f s, at most %.1f s", times[len(times)/2].Seconds(), times[len(times)-1].Seconds())
	if limit := map[way]time.Duration{byRewind: rewindTime, byClone: cloneTime}[returns[0].way]; times[len(times)/2] > limit {
		text += fmt.Sprintf(" (slow: %s %s is usual for a small database)", limit, returns[0].way)
	}
	return text
}
