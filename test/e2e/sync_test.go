//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// primaryLostWhileBehind loses the primary at a time when it had gone on without its standby. The standby lacks what was
// acknowledged meanwhile: it must not be promoted, until an administrator decides that this is the lesser evil.
func primaryLostWhileBehind(s *scene) {
	primary, standby := s.hosts()
	s.tell(
		step("a table is made that both have", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "create table kept (note text); insert into kept values ('on both')"); err != nil {
				return err
			}
			return s.c.AwaitReplayed(ctx, primary, standby)
		}),
		step("the replication link is cut", func(ctx context.Context) error { return standby.Cut(ctx, lab.Both, lab.Among(5432)) }),
		step("the primary goes on alone, once the standby is on record as behind", func(ctx context.Context) error {
			// Returns when it is acknowledged, which without the standby takes as long as commits wait for it.
			_, err := cluster.SQL(ctx, primary, "insert into kept values ('on the primary alone')")
			return err
		}),
		step("the primary's host loses its power", func(ctx context.Context) error { return primary.PowerOff(ctx) }),
		step("Pacemaker has fenced it and has nothing more to do", func(ctx context.Context) error {
			if err := s.awaitFenced(ctx, primary); err != nil {
				return err
			}
			_, err := standby.Run(ctx, "crm_resource", "--wait", "--timeout=60")
			return err
		}),
		step("the standby is not promoted, and says why", func(ctx context.Context) error {
			st, err := cluster.Status(ctx, standby)
			if err != nil {
				return err
			}
			return errors.Join(expect("its role", st.Role, ha.Standby), expect("its score", st.Score, ha.Minus),
				mention("its status", strings.Join(st.Warnings, "\n"), "not promotable"))
		}),
		step("pgtwin promote says what would be lost, and changes nothing", func(ctx context.Context) error {
			out, err := standby.Run(ctx, "pgtwin", "promote")
			return errors.Join(expect("its exit status", cluster.ExitCode(err), 1),
				mention("pgtwin promote", out, primary.Name()+" was primary", "went on without "+standby.Name(), "is lost here", "Nothing was changed"))
		}),
		step("the administrator accepts the loss", func(ctx context.Context) error {
			out, err := standby.Run(ctx, "pgtwin", "promote", "--accept-data-loss")
			return errors.Join(err, mention("pgtwin promote", out, standby.Name()+" is primary."))
		}),
		step("it has the address, and what it had before", func(ctx context.Context) error {
			if _, err := s.c.AwaitPrimary(ctx, standby); err != nil {
				return err
			}
			return sameAnswer(ctx, "select note from kept", "on both", standby, standby)
		}),
		step("the lost host boots, and is brought onto the new primary's history", func(ctx context.Context) error {
			if err := errors.Join(standby.Heal(ctx), primary.Boot(ctx)); err != nil {
				return err
			}
			return s.c.AwaitStandby(ctx, primary)
		}),
		step("both have the same rows", func(ctx context.Context) error {
			if err := s.c.AwaitReplayed(ctx, standby, primary); err != nil {
				return err
			}
			return sameAnswer(ctx, "select note from kept", "on both", primary, standby)
		}),
		step("nothing has failed", s.c.AwaitCalm),
		step("the table is dropped", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, standby, "drop table kept")
			return err
		}),
	)
}

// awaitFenced returns when h is off and Pacemaker knows it.
func (s *scene) awaitFenced(ctx context.Context, h *lab.Host) error {
	return cluster.Await(ctx, h.Name()+" to be fenced", func(ctx context.Context) error {
		view, err := s.c.View(ctx)
		if err != nil {
			return err
		}
		for _, n := range view.Nodes {
			if n.Name == h.Name() && (n.Online || n.Unclean) {
				return fmt.Errorf("it is online=%t unclean=%t", n.Online, n.Unclean)
			}
		}
		return nil
	})
}

// strictMode loses the standby for good in rep_mode=strict: commits wait until it is back.
func strictMode(s *scene) {
	const patience = 15 * time.Second // longer than commits wait in rep_mode=sync
	primary, standby := s.hosts()
	// waits says whether a commit takes longer than that. (statement_timeout ends before the commit does.)
	waits := func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := cluster.SQL(ctx, primary, "insert into kept values ('strict')")
		if ctx.Err() != nil {
			return true, nil
		}
		return false, err
	}
	s.tell(
		step("rep_mode is set to strict", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "create table kept (note text)"); err != nil {
				return err
			}
			return s.c.SetParameter(ctx, "rep_mode", "strict")
		}),
		step("both supervisors know it", func(ctx context.Context) error {
			return cluster.Await(ctx, "the new mode", func(ctx context.Context) error {
				for _, h := range s.c.Hosts() {
					out, err := h.Run(ctx, "pgtwin", "status", "--output", "json")
					if cluster.ExitCode(err) < 0 || !strings.Contains(out, `"rep_mode": "strict"`) {
						return fmt.Errorf("%s: %w %s", h.Name(), err, out)
					}
				}
				return nil
			})
		}),
		step("the standby's host loses its power and is fenced", func(ctx context.Context) error {
			if err := standby.PowerOff(ctx); err != nil {
				return err
			}
			return s.awaitFenced(ctx, standby)
		}),
		step("a commit waits for as long as its client does", func(ctx context.Context) error {
			waited, err := waits(ctx)
			if err == nil && !waited {
				err = errors.New("it was acknowledged")
			}
			return err
		}),
		step("the lost host is back in sync, and commits go on", func(ctx context.Context) error {
			if err := standby.Boot(ctx); err != nil {
				return err
			}
			if err := s.c.AwaitStandby(ctx, standby); err != nil {
				return err
			}
			waited, err := waits(ctx)
			if waited {
				err = errors.New("the commit waited")
			}
			return err
		}),
		step("rep_mode is set back to sync", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, primary, "drop table kept")
			return errors.Join(err, s.c.SetParameter(ctx, "rep_mode", "sync"))
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}

// oneWriter changes synchronous_standby_names behind pgtwin's back. What commits wait for has to be what is on record.
func oneWriter(s *scene) {
	primary, standby := s.hosts()
	const ask = "select current_setting('synchronous_standby_names')"
	ours := ""
	s.tell(
		step("commits wait for the standby", func(ctx context.Context) (err error) {
			ours, err = cluster.SQL(ctx, primary, ask)
			return errors.Join(err, expect("synchronous_standby_names", ours, `"`+standby.Name()+`"`))
		}),
		step("a person has them wait for nobody, by ALTER SYSTEM", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, primary, "alter system set synchronous_standby_names = ''")
			return err
		}),
		step("PostgreSQL reads that, and pgtwin takes it back", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "select pg_reload_conf()"); err != nil {
				return err
			}
			return cluster.Await(ctx, "pgtwin's setting", func(ctx context.Context) error {
				now, err := cluster.SQL(ctx, primary, ask)
				if err != nil {
					return err
				}
				log, err := primary.Run(ctx, "journalctl", "--unit="+cluster.Watcher, "--no-pager", "--output=cat")
				return errors.Join(err, expect("synchronous_standby_names", now, ours), mention("the supervisor's log", log, "taking back ALTER SYSTEM"))
			})
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}
