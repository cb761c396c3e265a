package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

const (
	// collationPeriod is how often databases and collations that are new are looked for. The versions
	// themselves change with a start of PostgreSQL alone.
	collationPeriod = time.Hour
	// changedPeriod is how often a collation that has changed is looked at again: the administrator repairs it.
	changedPeriod = 30 * time.Second
	// failedPeriod is how often a look that failed is repeated.
	failedPeriod = 5 * time.Minute
	// collationLimit bounds one look at all databases.
	collationLimit = time.Minute
	// collationWait is how long a standby's first score waits for the first look.
	collationWait = time.Second
	// maxChanged is how many changed collations the status names.
	maxChanged = 5
)

// collations is what is known of those of the running server.
type collations struct {
	server   time.Time // start of the postmaster that was looked at; zero: none
	asking   bool
	askedAt  time.Time
	warnings []string // one for each that has changed, at most maxChanged and a count
	failure  string   // of the last look, as it was logged; "": there was none
}

// period is how long after a look the next one is due.
func (c collations) period() time.Duration {
	switch {
	case len(c.warnings) > 0:
		return changedPeriod
	case c.failure != "":
		return failedPeriod
	}
	return collationPeriod
}

// collationsKnown says whether the collations of the running server are known.
func (s *Supervisor) collationsKnown() bool {
	return s.seen.role != ha.Down && !s.seen.look.Started.IsZero() && s.collations.server.Equal(s.seen.look.Started)
}

// keepCollations begins a look at the versions of collations when one is due: after a start of PostgreSQL,
// and from time to time. It works beside the loop, on sessions of its own.
func (s *Supervisor) keepCollations() {
	due := time.Since(s.collations.askedAt) >= s.collations.period() || !s.collationsKnown() && s.changed.After(s.collations.askedAt)
	answers := s.seen.role == ha.Primary || s.seen.role == ha.Standby
	if s.collations.asking || !due || !answers || s.seen.progress.Phase != control.PhaseRunning {
		return
	}
	s.collations.asking, s.collations.askedAt = true, time.Now()
	look := collationLook{instance: s.Instance, server: s.seen.look.Started, primary: s.seen.role == ha.Primary,
		record: instance.CollationRecord{System: s.seen.look.System, Runtime: s.seen.progress.Runtime, Image: s.seen.progress.Image}}
	s.background.Go(func() {
		found := look.take(s.life)
		select {
		case s.collated <- found:
		case <-s.life.Done():
		}
	})
}

// collationLook is one look at the collations: a snapshot of what it goes by.
type collationLook struct {
	instance config.Instance
	server   time.Time
	primary  bool
	record   instance.CollationRecord // to be written, yet without collations
}

// collated is what a look has found. What failed is in err, the rest is good.
type collated struct {
	server   time.Time
	warnings []string
	err      error
}

// take looks at all databases, and records the versions that are in use. What could not be looked at stays on
// record as it was.
func (l collationLook) take(ctx context.Context) collated {
	ctx, cancel := context.WithTimeout(ctx, collationLimit)
	defer cancel()
	answer := collated{server: l.server}
	found, failed := pg.Collations(ctx, instance.Local(l.instance))
	before, err := instance.ReadCollations(l.instance.Name)
	if err == nil && before.System != l.record.System {
		before = instance.CollationRecord{}
	}
	found = before.Complete(found, l.instance.AcceptCollationChange)
	l.record.At, l.record.Collations = time.Now(), found
	if failed != nil {
		l.record.Collations = before.Kept(found)
	}
	answer.warnings = l.warn(ctx, found)
	answer.err = errors.Join(failed, err, l.record.Write(l.instance.Name))
	return answer
}

// warn says in words what has changed.
func (l collationLook) warn(ctx context.Context, found []pg.Collation) []string {
	changed := slices.DeleteFunc(slices.Clone(found), func(c pg.Collation) bool { return !c.Changed() })
	var all []string
	for _, c := range changed[:min(len(changed), maxChanged)] {
		// Without the names the warning is less good, and true.
		objects, more, _ := pg.CollationObjects(ctx, instance.Local(l.instance), c)
		all = append(all, instance.CollationWarning(c, objects, more, l.primary))
	}
	if more := len(changed) - len(all); more > 0 {
		all = append(all, fmt.Sprintf("%d more collations have changed their version on this host", more))
	}
	return all
}

// collate makes what a look has found known to the loop, and says what is new. A look that failed proves
// nothing of what it did not reach.
func (s *Supervisor) collate(found collated) {
	known, failure := s.collations, ""
	if found.err != nil {
		failure = found.err.Error()
		if known.server.Equal(found.server) && len(found.warnings) == 0 {
			found.warnings = known.warnings
		}
	}
	if failure != "" && failure != known.failure && !pg.Interrupted(found.err) {
		s.Log.Warn("cannot record the versions of all collations: " + failure)
	}
	for _, warning := range found.warnings {
		if !slices.Contains(known.warnings, warning) {
			s.Log.Warn(warning)
		}
	}
	s.collations = collations{server: found.server, askedAt: known.askedAt, warnings: found.warnings, failure: failure}
}
