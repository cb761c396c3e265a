// Package event is what happens to a cluster under test, as stories of named steps, and what it cost the clients that were
// writing meanwhile. The scenarios assert it and the demo tells it; neither has a second version.
package event

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/ledger"
)

// Event is one thing that happens to a cluster at rest. At its end the cluster is at rest again.
type Event struct {
	Name  string
	Limit time.Duration // the longest time without writes that any client may have, on a machine that does nothing else
	Steps []Step
}

// Step is one sentence of the story and what is done, or waited for, to make it true.
type Step struct {
	Text string
	Do   func(context.Context) error
	// Calm, if not zero, is the longest time without writes during this step, where the event's own is over by then.
	Calm time.Duration
}

// stepTime bounds a step: what takes longer does not work.
const stepTime = 2 * time.Minute

// Observer follows an event while it happens.
type Observer interface {
	Step(text string)  // a step begins
	Progress(Progress) // once a second
	Slow(error)        // clients waited for longer than the event's limit, and for less than bearable(limit)
}

// bearable is how long clients may wait before an event fails: up to three times its limit, and at most 15 s more, because a
// test shares its machine with other programs. A failover that does not work takes longer than that.
func bearable(limit time.Duration) time.Duration { return limit + min(2*limit, 15*time.Second) }

// Progress is how the clients fared in the last second.
type Progress struct {
	Since           time.Duration // since the event's first step began
	Virtual, Direct int           // writes acknowledged through the virtual address, and by direct connections
}

// Run lets the event happen while two clients write and a watch looks out for a second primary, and counts the rows
// afterwards. The result is filled in as far as it is known; the error is what should not have been.
func Run(ctx context.Context, c *cluster.Cluster, e Event, o Observer) (Result, error) {
	result := Result{Mode: c.Mode(), Event: e.Name}
	dir, err := os.MkdirTemp("", "pgtwin-ledger-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	w, err := startClients(ctx, c, dir)
	if err != nil {
		return result, err
	}
	watch := ledger.StartWatch(ctx, c.DirectClient("watch"))
	stopProgress := w.report(o)
	failed := w.awaitWrites(ctx, 50)
	began := time.Now()
	if failed == nil {
		failed = w.follow(ctx, e, o)
	}
	if failed == nil {
		failed = w.awaitWrites(ctx, 50)
	}
	ended := time.Now()
	stopProgress()
	failed = errors.Join(failed, w.stop(), ledger.Overlaps(watch.Stop()))
	result.Virtual = w.virtual.Longest(began, ended).Length()
	result.Direct = w.direct.Longest(began, ended).Length()
	failed = errors.Join(failed, w.settle(ctx, c, &result), result.within(bearable(e.Limit)))
	if failed != nil {
		return result, fmt.Errorf("%s: %w", e.Name, failed)
	}
	if slow := result.within(e.Limit); slow != nil {
		o.Slow(slow)
	}
	return result, nil
}

// follow takes the steps one after the other.
func (w *clients) follow(ctx context.Context, e Event, o Observer) error {
	for _, s := range e.Steps {
		o.Step(s.Text)
		if s.Calm > 0 { // the end of an interruption before it is not this step's
			if err := w.awaitWrites(ctx, 1); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := s.take(ctx); err != nil {
			return err
		}
		if s.Calm == 0 {
			continue
		}
		for name, book := range w.books() {
			if gap := book.Longest(began, time.Now()).Length(); gap > bearable(s.Calm) {
				return fmt.Errorf("%s: no writes %s for %.1f s, which is an interruption of its own", s.Text, name, gap.Seconds())
			}
		}
	}
	return nil
}

// Tell takes the steps of a story that has no clients.
func Tell(ctx context.Context, steps []Step, o Observer) error {
	for _, s := range steps {
		o.Step(s.Text)
		if err := s.take(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s Step) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := s.Do(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.Text, err)
	}
	return nil
}
