//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// TestLost lets primaries fail that had committed what their standby never received, as rep_mode=async permits. The old
// primary comes back by itself, and says what it has lost.
func TestLost(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, cluster.Options{Containers: true, Notify: true, Tree: tree, Log: t.Output()})
	s.play(scenario{"cold start", coldStart})
	s.play(scenario{"rewound", lostAndRewound})
	s.play(scenario{"rewound from the archive", lostAndRewoundFromArchive})
	s.play(scenario{"cloned", lostAndCloned})
	s.play(scenario{"promoted by the rep_mode of now", promotedByTheModeOfNow})
}

// promotedByTheModeOfNow changes a parameter of which Pacemaker does not tell a host that it has demoted.
func promotedByTheModeOfNow(s *scene) {
	primary, standby := s.hosts()
	s.tell(
		step("the primary changes hosts by a demotion, in rep_mode=async", func(ctx context.Context) error {
			if err := s.setMode(ctx, "async"); err != nil {
				return err
			}
			return s.move(ctx, standby)
		}),
		step("rep_mode is set to sync", func(ctx context.Context) error {
			return errors.Join(s.setMode(ctx, "sync"), s.c.AwaitStandby(ctx, primary))
		}),
		step("the demoted host is promoted again, and commits on it wait for the other", func(ctx context.Context) error {
			return errors.Join(s.move(ctx, primary), s.c.AwaitStandby(ctx, standby))
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}

// move orders the primary onto a host, and the order is taken back when it is there.
func (s *scene) move(ctx context.Context, to *lab.Host) error {
	if err := s.c.Move(ctx, to); err != nil {
		return err
	}
	_, err := s.c.AwaitPrimary(ctx, to)
	return errors.Join(err, s.c.Clear(ctx))
}

// loser is a primary that is about to lose commits, and the client whose commits they are.
type loser struct {
	*scene
	primary, standby *lab.Host
	client           *ledger.Writer
	stop             func() error
	left             ha.Switch // where the new primary left the old one's timeline
}

func newLoser(s *scene) *loser {
	l := &loser{scene: s}
	l.primary, l.standby = s.hosts()
	return l
}

// setMode changes rep_mode and returns when the primary's supervisor knows it.
func (s *scene) setMode(ctx context.Context, mode string) error {
	if err := s.c.SetParameter(ctx, "rep_mode", mode); err != nil {
		return err
	}
	return cluster.Await(ctx, "rep_mode="+mode, func(ctx context.Context) error {
		primary, err := s.c.Primary(ctx)
		if err != nil {
			return err
		}
		out, err := primary.Run(ctx, "pgtwin", "status", "--output", "json")
		if cluster.ExitCode(err) < 0 {
			return err
		}
		return mention("the status", out, `"rep_mode": "`+mode+`"`)
	})
}

// diverge is how the primary's history parts from its standby's: more runs while the link is cut and the client writes.
func (l *loser) diverge(more func(context.Context) error) []event.Step {
	return []event.Step{
		step("rep_mode is set to async, and commits wait for nobody", func(ctx context.Context) error {
			// A segment that is left early counts as a lag of 16 MB.
			if err := l.c.SetParameter(ctx, "max_promotion_lag_bytes", "1073741824"); err != nil {
				return err
			}
			if err := l.setMode(ctx, "async"); err != nil {
				return err
			}
			return cluster.Await(ctx, "commits that wait for nobody", func(ctx context.Context) error {
				active, err := cluster.Status(ctx, l.primary)
				if err != nil {
					return err
				}
				standby, err := cluster.Status(ctx, l.standby)
				if err == nil && (active.Sync != "" || !standby.InSync || !standby.Receiving) {
					err = fmt.Errorf("commits wait for %q, the standby is in sync: %t, receives: %t", active.Sync, standby.InSync, standby.Receiving)
				}
				return err
			})
		}),
		step("a client writes", func(ctx context.Context) (err error) {
			if l.client, err = ledger.Start(l.Context(), l.c.DirectClient("lost"), l.TempDir()); err != nil {
				return err
			}
			l.stop = sync.OnceValue(l.client.Stop)
			l.Cleanup(func() { _ = l.stop() }) // for a scenario that fails before it is stopped
			return l.awaitWrites(ctx, 20)
		}),
		step("the replication link is cut, and commits go on", func(ctx context.Context) error {
			if err := l.standby.Cut(ctx, lab.Both, lab.Among(5432)); err != nil {
				return err
			}
			return errors.Join(l.awaitWrites(ctx, 20), more(ctx))
		}),
		step("the primary's postmaster is killed, and the standby promoted", func(ctx context.Context) error {
			if err := l.stop(); err != nil {
				return err
			}
			pid, err := cluster.Postmaster(ctx, l.primary)
			if err != nil {
				return err
			}
			if err := cluster.Kill(ctx, l.primary, pid); err != nil {
				return err
			}
			_, err = l.c.AwaitPrimary(ctx, l.standby)
			return err
		}),
		step("its history says where it left the old one's", l.seeFork),
	}
}

func (l *loser) awaitWrites(ctx context.Context, n int) error {
	goal := l.client.Acknowledged() + n
	return cluster.Await(ctx, "writes", func(context.Context) error {
		if now := l.client.Acknowledged(); now < goal {
			return fmt.Errorf("%d more", goal-now)
		}
		return nil
	})
}

func (l *loser) seeFork(ctx context.Context) error {
	st, err := cluster.Status(ctx, l.standby)
	if err != nil {
		return err
	}
	text, err := cluster.SQL(ctx, l.standby, fmt.Sprintf("select pg_read_file('pg_wal/%08X.history')", uint32(st.Timeline)))
	if err != nil {
		return err
	}
	history, err := pg.ParseHistory(st.Timeline, text)
	if err == nil && len(history.Parents) == 0 {
		err = fmt.Errorf("timeline %d has no parent: %s", st.Timeline, text)
	}
	if err == nil {
		l.left = history.Parents[len(history.Parents)-1]
	}
	return err
}

// rejoin is how the old primary comes back, by the course expected.
func (l *loser) rejoin(course ha.Course) []event.Step {
	return []event.Step{
		step("the link is back, and the old primary streams", func(ctx context.Context) error {
			if err := l.standby.Heal(ctx); err != nil {
				return err
			}
			return cluster.Await(ctx, l.primary.Name()+" to stream", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, l.primary)
				if err == nil && (st.Role != ha.Standby || !st.Receiving) {
					err = fmt.Errorf("it is %s (%s: %s), receives: %t", st.Role, st.Phase, st.Detail, st.Receiving)
				}
				return err
			})
		}),
		step("rep_mode is set back to sync, and it is in sync", func(ctx context.Context) error {
			return errors.Join(l.setMode(ctx, "sync"), l.c.AwaitStandby(ctx, l.primary))
		}),
		step("both have the same rows", func(ctx context.Context) error {
			if err := l.c.AwaitReplayed(ctx, l.standby, l.primary); err != nil {
				return err
			}
			return sameAnswerIn(ctx, cluster.Ledger, ledger.Fingerprint, "", l.primary, l.standby)
		}),
		step("pgtwin history says that it was by "+string(course), func(ctx context.Context) error {
			e, err := l.last(ctx, control.EventRejoin)
			if err != nil {
				return err
			}
			return errors.Join(expect("the course", e.Course, course), expect("the primary", e.Node, l.standby.Name()))
		}),
		step("nothing has failed", l.c.AwaitCalm),
	}
}

// last is the newest event of a kind that the old primary has seen.
func (l *loser) last(ctx context.Context, kind control.EventKind) (control.Event, error) {
	var found control.Event
	out, err := l.primary.Run(ctx, "pgtwin", "history", "--output", "json", "--limit", "0")
	if err != nil {
		return found, err
	}
	var events []control.Event
	if err := json.Unmarshal([]byte(out), &events); err != nil {
		return found, fmt.Errorf("cannot read pgtwin history: %w", err)
	}
	for _, e := range events {
		if e.Kind == kind {
			found = e
		}
	}
	if found.Kind == "" {
		return found, fmt.Errorf("pgtwin history has no event %s: %s", kind, out)
	}
	return found, nil
}

// rowsLost counts what the client was told to be committed and is not there any more.
func (l *loser) rowsLost(ctx context.Context) (int, error) {
	rows, err := l.client.Rows(ctx, l.standby.Addr())
	if err != nil {
		return 0, err
	}
	account := ledger.Settle(l.client.Notes(), rows)
	if len(account.Doubled)+len(account.Strange) > 0 {
		return 0, account.Err()
	}
	if len(account.Lost) == 0 {
		return 0, errors.New("no row was lost: nothing is proven")
	}
	return len(account.Lost), nil
}

// lostAndRewound is the usual case: all of the WAL is there.
func lostAndRewound(s *scene) {
	l := newLoser(s)
	s.tell(l.diverge(func(context.Context) error { return nil })...)
	s.tell(l.rejoin(ha.Rewind)...)
	s.tell(l.allIsKnown())
}

// allIsKnown compares what the old primary says with the client's account and with the WAL that was kept.
func (l *loser) allIsKnown() event.Step {
	return step("pgtwin history says how many transactions are lost, and from where on; their WAL is kept", func(ctx context.Context) error {
		lost, err := l.rowsLost(ctx)
		if err != nil {
			return err
		}
		e, err := l.last(ctx, control.EventLost)
		if err != nil {
			return err
		}
		loss := e.Loss
		l.Logf("%d rows are lost; %s", lost, loss.Sentence(e.Node))
		if loss.Transactions < lost {
			err = fmt.Errorf("%d rows are lost, history says %d transactions", lost, loss.Transactions)
		}
		kept, errKept := l.commitsIn(ctx, loss.Kept)
		log, errLog := l.primary.Run(ctx, "journalctl", "--unit="+cluster.Unit, "--no-pager", "--output=cat")
		return errors.Join(err, errKept, errLog,
			expect("the account is complete", loss.Complete, true),
			expect("where the histories part", ha.Switch{Timeline: loss.Timeline, At: loss.From}, l.left),
			expect("the commits in the WAL that is kept", kept, loss.Transactions),
			mention("the relations", strings.Join(loss.Relations, " "), "ledger.public.ledger"),
			mention("the journal", log, fmt.Sprintf("%d transactions are lost", loss.Transactions)))
	})
}

// commitsIn counts the commits beyond the fork in WAL that was kept, as an administrator would.
func (l *loser) commitsIn(ctx context.Context, dir string) (int, error) {
	owner, err := l.primary.Run(ctx, "stat", "--format=%U %a", dir)
	if err != nil {
		return 0, err
	}
	if err := expect("owner and mode of "+dir, strings.TrimSpace(owner), "postgres 700"); err != nil {
		return 0, err
	}
	out, err := l.primary.Run(ctx, cluster.BinDir+"/pg_waldump", "--path="+dir, fmt.Sprintf("--timeline=%d", l.left.Timeline), "--start="+l.left.At.String(), "--rmgr=Transaction")
	if cluster.ExitCode(err) < 0 || cluster.ExitCode(err) > 1 { // 1: the end of WAL
		return 0, err
	}
	return strings.Count(out, "desc: COMMIT "), nil
}

// segmentSize is initdb's default.
const segmentSize = 16 << 20

// walBefore are the files of the old primary's timeline before the segment of this number.
func (l *loser) walBefore(ctx context.Context, number uint64) ([]string, error) {
	out, err := l.primary.Run(ctx, "ls", cluster.DataDir+"/pg_wal")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, n := range pg.WALSegments(strings.Fields(out), l.left.Timeline, segmentSize) {
		if n < number {
			files = append(files, path.Join(cluster.DataDir, "pg_wal", pg.SegmentName(l.left.Timeline, n, segmentSize)))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no WAL before segment %d of timeline %d: %s", number, l.left.Timeline, out)
	}
	return files, nil
}

// newSegments lets what is written now be in other WAL files than what was before.
func (l *loser) newSegments(ctx context.Context, checkpoint string) error {
	_, err := cluster.SQL(ctx, l.primary, "select pg_switch_wal();"+checkpoint)
	return errors.Join(err, l.awaitWrites(ctx, 20))
}

// lostAndRewoundFromArchive takes the WAL before the last checkpoint away, which the rewind needs. /run/postgresql stands for
// the place of an archive: a container sees it.
func lostAndRewoundFromArchive(s *scene) {
	const archive = "/run/postgresql/archive"
	l := newLoser(s)
	s.tell(l.diverge(func(ctx context.Context) error { return l.newSegments(ctx, "checkpoint") })...)
	s.tell(step("the old primary's WAL from before its last checkpoint is in the archive alone", func(ctx context.Context) error {
		out, err := l.primary.Run(ctx, cluster.BinDir+"/pg_controldata", cluster.DataDir)
		if err != nil {
			return err
		}
		redo, err := ha.ParseLSN(valueOf(out, "Latest checkpoint's REDO location"))
		if err != nil {
			return err
		}
		files, err := l.walBefore(ctx, uint64(redo)/segmentSize)
		if err != nil {
			return err
		}
		if _, err := l.primary.Run(ctx, "install", "-d", "-o", "postgres", archive); err != nil {
			return err
		}
		_, err = l.primary.Run(ctx, append(append([]string{"mv"}, files...), archive)...)
		return err
	}))
	s.tell(step("the administrator has set restore_command", func(ctx context.Context) error {
		_, err := l.primary.RunInput(ctx, "restore_command = 'cp "+archive+"/%f %p'\n", "tee", "--append", cluster.DataDir+"/postgresql.conf")
		return err
	}))
	s.tell(l.rejoin(ha.Rewind)...)
	s.tell(step("the log says that the archive was there", func(ctx context.Context) error {
		log, err := l.primary.Run(ctx, "journalctl", "--unit="+cluster.Unit, "--no-pager", "--output=cat")
		_, errRemove := l.primary.Run(ctx, "rm", "-r", archive)
		return errors.Join(err, errRemove, mention("the journal", log, "the rewind can fetch WAL from the archive"))
	}))
	s.tell(l.atLeast())
}

// valueOf is a line's value in pg_controldata's output.
func valueOf(text, name string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// lostAndCloned takes the WAL of the fork away: a rewind is not possible, and nobody can say any more what is lost.
func lostAndCloned(s *scene) {
	l := newLoser(s)
	s.tell(l.diverge(func(ctx context.Context) error { return l.newSegments(ctx, "") })...)
	s.tell(step("the old primary's WAL up to where the histories part is gone", func(ctx context.Context) error {
		files, err := l.walBefore(ctx, uint64(l.left.At)/segmentSize+1)
		if err != nil {
			return err
		}
		_, err = l.primary.Run(ctx, append([]string{"rm"}, files...)...)
		return err
	}))
	s.tell(l.rejoin(ha.Clone)...)
	s.tell(l.atLeast())
	s.tell(step("it says why it was cloned", func(ctx context.Context) error {
		e, err := l.last(ctx, control.EventRejoin)
		return errors.Join(err, mention("the reason", e.Why, "the rewind failed", "pg_rewind"))
	}))
}

// atLeast is what the old primary says when the WAL with the fork was not there.
func (l *loser) atLeast() event.Step {
	return step("pgtwin history says that it does not know all that is lost", func(ctx context.Context) error {
		lost, err := l.rowsLost(ctx)
		if err != nil {
			return err
		}
		e, err := l.last(ctx, control.EventLost)
		if err != nil {
			return err
		}
		out, err := l.primary.Run(ctx, "pgtwin", "history")
		l.Logf("%d rows are lost; %s", lost, e.Loss.Sentence(e.Node))
		return errors.Join(err,
			expect("the account is complete", e.Loss.Complete, false),
			expect("where WAL is missing", e.Loss.Missing, l.left.At),
			mention("pgtwin history", out, fmt.Sprintf("at least %d transactions are lost", e.Loss.Transactions), "WAL is missing from "+l.left.At.String()))
	})
}
