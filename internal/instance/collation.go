package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
)

// collationPatience bounds the comparison of a start whose programs have changed.
const collationPatience = 30 * time.Second

// CollationRecord is what the supervisor noted while the server ran: the versions of the collations
// in use, and the programs that they were of. The zero value knows nothing.
type CollationRecord struct {
	System     uint64 // PostgreSQL's system identifier; 0: nothing is recorded
	Runtime    string // host, podman or docker
	Image      string // digest or id; "" on the host
	At         time.Time
	Collations []pg.Collation
}

// ReadCollations reads the record of instance name, the zero value where there is none.
func ReadCollations(name string) (r CollationRecord, err error) {
	err = control.ReadJSON(config.CollationFile(name), &r)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	return r, err
}

// Write replaces the record of instance name.
func (r CollationRecord) Write(name string) error {
	return control.WriteJSON(config.CollationFile(name), r, 0o600)
}

// find is the entry of the same collation.
func (r CollationRecord) find(c pg.Collation) (old pg.Collation, found bool) {
	at := slices.IndexFunc(r.Collations, func(o pg.Collation) bool {
		return o.Database == c.Database && o.Name == c.Name && o.Provider == c.Provider && o.Locale == c.Locale
	})
	if at < 0 {
		return pg.Collation{}, false
	}
	return r.Collations[at], true
}

// Complete fills in by which version text was sorted where PostgreSQL's catalog does not say: the
// recorded one, or the present one where none is recorded or the administrator accepts the change.
func (r CollationRecord) Complete(found []pg.Collation, accepted bool) []pg.Collation {
	all := slices.Clone(found)
	for i, c := range all {
		if c.Stored {
			continue
		}
		all[i].Recorded = c.Actual
		if old, known := r.find(c); known && !accepted {
			all[i].Recorded = old.Recorded
		}
	}
	return all
}

// Kept is what a look found, and of the record what it did not reach.
func (r CollationRecord) Kept(found []pg.Collation) []pg.Collation {
	now := CollationRecord{Collations: found}
	missing := slices.DeleteFunc(slices.Clone(r.Collations), func(c pg.Collation) bool { _, is := now.find(c); return is })
	return append(slices.Clone(found), missing...)
}

// worse are the collations whose version has changed with the programs since the record. One that
// had changed before, or that the catalog has in the new version, is not among them.
func (r CollationRecord) worse(found []pg.Collation) []pg.Collation {
	return slices.DeleteFunc(r.Complete(found, false), func(c pg.Collation) bool {
		old, known := r.find(c)
		return !c.Changed() || known && old.Actual == c.Actual
	})
}

// recallCollations reads the record if it is of this database and of other programs than those that
// are about to run.
func (a *Activation) recallCollations() {
	a.before = nil
	r, err := ReadCollations(a.Instance.Name)
	if err != nil {
		a.Log.Warn("cannot compare the versions of collations with those of the programs before", "error", err)
		return
	}
	if c, err := pg.ReadControl(a.Instance.PGData); err != nil || r.System == 0 || r.System != c.System {
		return
	}
	if r.Runtime != a.runtime.Name() || r.Image != cmp.Or(a.image.Digest, a.image.ID) {
		a.before = &r
	}
}

// beginning is the progress of a server that starts. While versions are to be compared the start is not
// yet taken over: the agent waits for the result.
func (a *Activation) beginning(server pg.Server) control.Progress {
	if a.before != nil {
		return control.Progress{Phase: control.PhaseChecking, Detail: "whether the collations of " + a.origin() + " are those of " + a.before.origin()}
	}
	return starting(server, "PostgreSQL as a standby")
}

// compareCollations refuses programs that sort text differently than those before. A standby that has
// just been started has changed no index, and the supervisor leaves it alone until this is over.
func (a *Activation) compareCollations(ctx context.Context) error {
	if a.before == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, collationPatience)
	defer cancel()
	found, err := pg.Collations(limited, Local(a.Instance))
	if err != nil {
		a.Log.Warn("cannot compare the versions of all collations with those of the programs before", "error", err)
	}
	before := a.before
	a.before = nil
	worse := before.worse(found)
	if len(worse) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s in place of %s: %s", a.origin(), before.origin(), differences(worse))
	if a.Instance.AcceptCollationChange {
		a.Log.Warn("accept_collation_change is set: starting " + text + "; indexes on text are wrong until REINDEX")
		return nil
	}
	return &Failure{ocf.ErrArgs, fmt.Errorf("cannot run %s; indexes on text would be wrong, rows not found and unique ones doubled. "+
		"Go back to the programs before, or set accept_collation_change = true in pgtwin.toml on this host and run REINDEX once it is primary", text)}
}

// origin names the programs of a record.
func (r CollationRecord) origin() string { return originOf(r.Runtime, r.Image) }

// origin names the programs that run.
func (a *Activation) origin() string {
	return originOf(a.runtime.Name(), cmp.Or(a.image.Digest, a.image.ID))
}

func originOf(runtime, image string) string {
	if image == "" {
		return "the programs of the host"
	}
	return fmt.Sprintf("the image %s (%s)", image, runtime)
}

// shownCollations is how many collations a message names.
const shownCollations = 5

// differences names what has changed.
func differences(changed []pg.Collation) string {
	var all []string
	for _, c := range changed[:min(len(changed), shownCollations)] {
		all = append(all, fmt.Sprintf("%s has %s, the text is sorted by %s", c.Where(), version(c.Actual), version(c.Recorded)))
	}
	if more := len(changed) - len(all); more > 0 {
		all = append(all, fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, "; ")
}

func version(v string) string {
	if v == "" {
		return "no version"
	}
	return "version " + v
}

// CollationWarning says that a collation has changed, what is in its order, and what to do on a host
// of this role.
func CollationWarning(c pg.Collation, objects []string, more int, primary bool) string {
	text := fmt.Sprintf("%s has %s on this host, the text is sorted by %s", c.Where(), version(c.Actual), version(c.Recorded))
	switch {
	case len(objects) > 0 && more > 0:
		text += fmt.Sprintf(": wrong may be %s and %d more", strings.Join(objects, ", "), more)
	case len(objects) > 0:
		text += ": wrong may be " + strings.Join(objects, ", ")
	default:
		text += "; no index is in its order"
	}
	if !primary {
		return text + "; give this host the programs that the primary has, or REINDEX after a promotion of this host"
	}
	if !c.Stored {
		return text + fmt.Sprintf("; %s, then start once with accept_collation_change = true in pgtwin.toml", c.Remedy())
	}
	return text + "; " + c.Remedy()
}

// checkCollations says beforehand that a start would compare: only running programs tell their
// versions.
func (a *Activation) checkCollations() {
	a.recallCollations()
	if a.before == nil || len(a.before.Collations) == 0 || a.Instance.AcceptCollationChange {
		return
	}
	a.Log.Warn(fmt.Sprintf("%s run in place of %s: the start compares the versions of %d collations (the first: %s, %s) and is refused where one differs, unless accept_collation_change is set",
		a.origin(), a.before.origin(), len(a.before.Collations), a.before.Collations[0].Where(), version(a.before.Collations[0].Actual)))
}
