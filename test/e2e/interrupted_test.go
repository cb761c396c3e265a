//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// rewindSpan is a little more than a rewind of a small database takes: the moments are within it. One that came too late is
// tried again, earlier.
const rewindSpan = 300 * time.Millisecond

// rewindKilled kills the rewind of an old primary at random moments. What it has left must be replaced by a clone and never be
// started.
func rewindKilled(moments int, random *rand.Rand) func(*scene) {
	return func(s *scene) {
		for n := range moments {
			hit := false
			for span := rewindSpan; !hit && span > rewindSpan/16; span /= 2 {
				moment := time.Duration(random.Int64N(int64(span)))
				hit = s.killRewind(fmt.Sprintf("rewind %d killed", n+1), moment)
			}
			if !hit {
				s.Fatal("no rewind took long enough to be killed")
			}
		}
	}
}

// killRewind lets a failover happen in which pg_rewind is killed at a moment of its life, if it has not ended by then.
func (s *scene) killRewind(name string, moment time.Duration) (hit bool) {
	c := s.c
	var old *lab.Host
	var struck func() error
	script := fmt.Sprintf("until pgrep --exact pg_rewind; do sleep 0.01; done; sleep %.3f; pkill -KILL --exact pg_rewind", moment.Seconds())
	s.run(event.Event{Name: name, Limit: 10 * time.Second, Steps: []event.Step{
		step("the primary's postmaster is killed", func(ctx context.Context) (err error) {
			if old, err = c.Primary(ctx); err != nil {
				return err
			}
			if struck, err = event.Lurk(ctx, old, script); err != nil {
				return err
			}
			return killServer(ctx, old)
		}),
		step("the other host takes over", func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(old))
			return err
		}),
		step(fmt.Sprintf("pg_rewind is killed %s after it has begun", moment.Round(time.Millisecond)), func(context.Context) error {
			err := struck()
			if cluster.ExitCode(err) == 1 { // pkill(1): no process matched
				s.Logf("  too late: it had ended")
				return nil
			}
			hit = err == nil
			return err
		}),
		step("the old primary is back all the same, in sync", func(ctx context.Context) error {
			if err := c.AwaitStandby(ctx, old); err != nil {
				return err
			}
			r, err := s.comeback(ctx)
			if err != nil {
				return err
			}
			if !hit {
				return r.expect(byRewind)
			}
			return errors.Join(r.expect(byClone), neverStarted(r.log))
		}),
		{Text: "nothing has failed", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}})
	return hit
}

// serverStarts is how an activation says that it starts PostgreSQL.
const serverStarts = "starting: PostgreSQL as a standby"

// neverStarted says whether a server was started on the data before the clone had replaced them.
func neverStarted(log string) error {
	before, _, _ := strings.Cut(log, "cloning: from ")
	if strings.Contains(before, serverStarts) {
		return fmt.Errorf("what the rewind had left was started:\n%s", before)
	}
	return nil
}

// powerLostInRewind takes the power of the old primary's host while it is rewound. After the boot nothing but the marker says
// that the data must not be started.
func powerLostInRewind(random *rand.Rand) func(*scene) {
	return func(s *scene) {
		c := s.c
		var old *lab.Host
		var begun func() error
		moment := time.Duration(random.Int64N(int64(rewindSpan / 4)))
		script := fmt.Sprintf("until pgrep --exact pg_rewind; do sleep 0.01; done; sleep %.3f", moment.Seconds())
		s.run(event.Event{Name: "power lost during a rewind", Limit: 10 * time.Second, Steps: []event.Step{
			step("the primary's postmaster is killed", func(ctx context.Context) (err error) {
				if old, err = c.Primary(ctx); err != nil {
					return err
				}
				if begun, err = event.Lurk(ctx, old, script); err != nil {
					return err
				}
				return killServer(ctx, old)
			}),
			step(fmt.Sprintf("its host loses its power %s after the rewind has begun", moment.Round(time.Millisecond)), func(ctx context.Context) error {
				return errors.Join(begun(), old.PowerOff(ctx))
			}),
			step("it is fenced, and the other host is primary", func(ctx context.Context) error {
				if err := s.awaitFenced(ctx, old); err != nil {
					return err
				}
				_, err := c.AwaitPrimary(ctx, c.Other(old))
				return err
			}),
			{Text: "the lost host boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return old.Boot(ctx) }},
			{Text: "it is back as a streaming standby, in sync, by a clone", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
				if err := c.AwaitStandby(ctx, old); err != nil {
					return err
				}
				r, err := s.comeback(ctx)
				return errors.Join(err, r.expect(byClone), neverStarted(r.log))
			}},
			{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
		}})
	}
}

// killServer kills the postmaster of a host.
func killServer(ctx context.Context, h *lab.Host) error {
	pid, err := cluster.Postmaster(ctx, h)
	if err != nil {
		return err
	}
	return cluster.Kill(ctx, h, pid)
}
