package instance

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// How long a rejoin may be delayed by the account of what it discards.
const (
	readPatience = 2 * time.Minute
	keepPatience = 5 * time.Minute
	namePatience = 5 * time.Second
)

// keepLost reads, before a rewind or a clone discards it, what this host has
// committed beyond the primary's history, and keeps the WAL aside. Whatever
// goes wrong with that is said, and the rejoin goes on; an error means that this
// activation was told to stop, and the next one begins anew.
func (a *Activation) keepLost(ctx context.Context, arrival ha.Arrival) error {
	// What an unfinished rewind has left was read before that began.
	if arrival.Unsound || !arrival.Data || arrival.Primary == nil || a.lost != nil || arrival.Contained() {
		return nil
	}
	event := control.Event{At: time.Now(), Kind: control.EventLost, Node: arrival.Epoch.Node, Epoch: arrival.Epoch.Number, Timeline: arrival.Epoch.Timeline}
	t, err := findTail(a.Instance.PGData, arrival)
	if err != nil {
		event.Why = "cannot say which commits of this host are lost: " + err.Error()
		a.Log.Warn(event.Why)
		a.note(event)
		return nil
	}
	loss := a.account(ctx, t)
	if ctx.Err() != nil {
		return fmt.Errorf("stopped while reading what is lost: %w", context.Cause(ctx))
	}
	event.LSN, event.Loss = loss.From, &loss
	a.tail, a.lost = t, &event
	a.sayLost()
	return nil
}

// account reads the tail and keeps it.
func (a *Activation) account(ctx context.Context, t *tail) control.Loss {
	before := a.progress
	a.mention(control.Progress{Phase: before.Phase, Detail: fmt.Sprintf("reading what this host has beyond %s on timeline %d", t.fork.At, t.fork.Timeline)})
	defer a.mention(before)
	limited, cancel := context.WithTimeoutCause(ctx, readPatience, fmt.Errorf("reading took longer than %s", readPatience))
	defer cancel()
	t.read(limited, a.waldump)
	loss := t.loss()
	if !loss.None() {
		a.setAside(ctx, t, &loss)
	}
	return loss
}

// mention is report where the work does not depend on it.
func (a *Activation) mention(p control.Progress) {
	if err := a.report(p); err != nil {
		a.Log.Warn("cannot show the progress", "error", err)
	}
}

// sayLost writes the account to the log and to the history.
func (a *Activation) sayLost() {
	loss, log := a.lost.Loss, a.Log.Warn
	if loss.None() {
		log = a.Log.Info
	}
	log(loss.Sentence(a.lost.Node), "from", loss.From, "timeline", loss.Timeline, "bytes", loss.Bytes,
		"transactions", loss.Transactions, "complete", loss.Complete, "kept", loss.Kept)
	a.note(*a.lost)
}

func (a *Activation) note(e control.Event) {
	if err := control.Note(config.HistoryFile(a.Instance.Name), e); err != nil {
		a.Log.Warn(err.Error())
	}
}

// waldump runs pg_waldump as a job. That it fails at the end of WAL is its way.
func (a *Activation) waldump(ctx context.Context, argv []string, output io.Writer) error {
	spec, err := a.spec(a.jobName(), argv)
	if err != nil {
		return fmt.Errorf("cannot run pg_waldump: %w", err)
	}
	spec.Env = append(spec.Env, "TZ=UTC")
	exit, err := a.runtime.Run(ctx, spec, output)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("cannot run pg_waldump: %w", err)
	case exit > 1:
		return fmt.Errorf("pg_waldump ended with status %d", exit)
	}
	return nil
}

// setAside keeps the WAL that is lost, within lost_wal_keep_size and half of
// the free space.
func (a *Activation) setAside(ctx context.Context, t *tail, loss *control.Loss) {
	free, err := storage.FreeBeside(a.Instance.PGData)
	if err != nil {
		loss.NotKept = err.Error()
		return
	}
	limit, reason := a.Instance.LostKeep, "lost_wal_keep_size does not allow for more"
	if free/2 < limit {
		limit, reason = free/2, "there is not room for more"
	}
	files, kept, all := t.files(limit)
	if kept < all {
		loss.NotKept = reason
	}
	if len(files) <= len(t.histories()) { // no segment
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, keepPatience, fmt.Errorf("copying took longer than %s", keepPatience))
	defer cancel()
	dir, err := storage.SetAside(ctx, a.Instance.PGData, files, a.owner.uid, a.owner.gid, time.Now())
	if err != nil {
		a.Log.Warn("the WAL that is lost is not in order beside the data directory", "error", err)
	}
	if dir == "" {
		loss.NotKept = err.Error()
		return
	}
	loss.Kept, loss.KeptBytes = dir, kept
}

// nameLost puts names in the place of numbers, once the new data can be asked.
// A relation that was made beyond the fork has none there, or its number is
// another's.
func (a *Activation) nameLost(ctx context.Context) {
	if a.tail == nil || len(a.lost.Loss.Relations) == 0 {
		return
	}
	relations, more := a.tail.changed()
	known := slices.DeleteFunc(slices.Clone(relations), func(r pg.Relation) bool { return a.tail.found.Made[r] })
	ctx, cancel := context.WithTimeout(ctx, namePatience)
	defer cancel()
	names, err := map[pg.Relation]string(nil), error(nil)
	if !a.progress.HotStandbyOff {
		names, err = pg.RelationNames(ctx, Local(a.Instance), known)
	}
	if err != nil {
		a.Log.Warn("the relations of lost commits have numbers for names", "error", err)
	}
	loss := a.lost.Loss
	loss.Relations, loss.More = nameAll(relations, names, a.tail.found.Made), more
	a.note(*a.lost)
	if len(names) > 0 && !loss.None() {
		a.Log.Warn("what is lost changed " + fmt.Sprint(loss.Relations))
	}
}

// nameAll are the names, each once, or the numbers where there is none.
func nameAll(relations []pg.Relation, names map[pg.Relation]string, made map[pg.Relation]bool) []string {
	var all []string
	for _, r := range relations {
		name := names[r]
		switch {
		case made[r]:
			name = r.String() + " (new)"
		case name == "":
			name = r.String()
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// noteRejoin notes how this host became a standby.
func (a *Activation) noteRejoin(arrival ha.Arrival) {
	a.note(control.Event{At: time.Now(), Kind: control.EventRejoin, Node: arrival.Epoch.Node, Epoch: arrival.Epoch.Number, Timeline: arrival.Timeline,
		Course: a.plan.Course, Why: a.plan.Why, Seconds: time.Since(a.began).Round(10 * time.Millisecond).Seconds()})
}

// afterRewind is the plan once a rewind has failed: whatever became of the data
// they are cloned, and it is said why.
func afterRewind(plan ha.Plan, failed error) ha.Plan {
	if failed == nil || plan.Course != ha.Rewind && plan.Course != ha.Clone {
		return plan
	}
	return ha.Plan{Course: ha.Clone, Why: fmt.Sprintf("the rewind failed: %v", failed)}
}
