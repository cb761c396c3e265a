//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// TestSlots breaks replication in the ways that PostgreSQL does not mend by itself.
func TestSlots(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, cluster.Options{Containers: true, Notify: true, Tree: tree, Log: t.Output()})
	s.play(scenario{"cold start", coldStart})
	s.play(scenario{"slots on every host", slotsOnEveryHost})
	s.play(scenario{"standby led away", standbyLedAway})
	s.play(scenario{"little WAL is kept", func(s *scene) { limitWAL(s, "32MB", "64") }})
	s.play(scenario{"slot lost", slotLost})
	s.play(scenario{"former primary back after long", formerPrimaryBackAfterLong})
	s.play(scenario{"WAL is kept as usual", func(s *scene) { limitWAL(s, "1GB", "1024") }})
	s.play(scenario{"logical slot", logicalSlot})
}

// slotsOnEveryHost looks for what a promotion would need, on the standby, and for what would fill its disk.
func slotsOnEveryHost(s *scene) {
	primary, standby := s.hosts()
	s.tell(
		step("each host has a slot for the other, and none besides", func(ctx context.Context) error {
			return errors.Join(awaitSlots(ctx, primary, slotOf(standby)+" true"), awaitSlots(ctx, standby, slotOf(primary)+" false"))
		}),
		step("the standby's goes on with its restart points", func(ctx context.Context) error {
			end, err := cluster.SQL(ctx, primary, "create table kept (note text); checkpoint; select pg_current_wal_flush_lsn()")
			if err != nil {
				return err
			}
			if err := s.c.AwaitReplayed(ctx, primary, standby); err != nil {
				return err
			}
			return cluster.Await(ctx, "the standby's slot", func(ctx context.Context) error {
				const question = "checkpoint; select restart_lsn = (select redo_lsn from pg_control_checkpoint()) from pg_replication_slots"
				there, err := cluster.SQL(ctx, standby, question)
				if err == nil && there != "t" {
					err = errors.New("it keeps more than a recovery needs, which would begin before " + end)
				}
				return err
			})
		}),
		step("a slot for a host that is gone is dropped, a slot of somebody else's is not", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "select pg_create_physical_replication_slot(name, true) from unnest('{ha_slot_h9, archive}'::text[]) as name"); err != nil {
				return err
			}
			err := awaitSlots(ctx, primary, "archive false, "+slotOf(standby)+" true")
			_, dropped := cluster.SQL(ctx, primary, "select pg_drop_replication_slot('archive'); drop table kept")
			return errors.Join(err, dropped)
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}

func slotOf(h *lab.Host) string { return "ha_slot_" + h.Name() }

// awaitSlots returns when a host has these slots, each with whether it is in use.
func awaitSlots(ctx context.Context, h *lab.Host, want string) error {
	return cluster.Await(ctx, "the slots of "+h.Name(), func(ctx context.Context) error {
		got, err := cluster.SQL(ctx, h, "select string_agg(slot_name || ' ' || active, ', ' order by slot_name) from pg_replication_slots")
		return errors.Join(err, expect("the list", got, want))
	})
}

// standbyLedAway makes the standby follow a server that is not there, in the two ways that there are.
func standbyLedAway(s *scene) {
	primary, standby := s.hosts()
	const ask = "select current_setting('primary_conninfo')"
	ours := ""
	back := func(ctx context.Context, says string) error {
		err := cluster.Await(ctx, "pgtwin's setting", func(ctx context.Context) error {
			now, err := cluster.SQL(ctx, standby, ask)
			log, errLog := standby.Run(ctx, "journalctl", "--unit="+cluster.Watcher, "--no-pager", "--output=cat")
			return errors.Join(err, errLog, expect("primary_conninfo", now, ours), mention("the supervisor's log", log, says))
		})
		return errors.Join(err, s.c.AwaitStandby(ctx, standby))
	}
	s.tell(
		step("the standby follows the primary", func(ctx context.Context) (err error) {
			ours, err = cluster.SQL(ctx, standby, ask)
			return errors.Join(err, mention("primary_conninfo", ours, "host="+primary.Name()))
		}),
		step("a person has it follow another server, by ALTER SYSTEM", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, standby, "alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
			return err
		}),
		step("PostgreSQL reads that, and pgtwin takes it back", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, standby, "select pg_reload_conf()"); err != nil {
				return err
			}
			return back(ctx, "taking back ALTER SYSTEM")
		}),
		step("a person edits the managed file", func(ctx context.Context) error {
			const managed = "/var/lib/pgtwin/" + cluster.Instance + "/conf/managed.conf"
			if _, err := standby.Run(ctx, "sed", "--in-place", "s/^primary_conninfo = .*/primary_conninfo = 'host=127.0.0.1 port=1'/", managed); err != nil {
				return err
			}
			_, err := cluster.SQL(ctx, standby, "select pg_reload_conf()")
			return err
		}),
		step("the standby receives nothing", func(ctx context.Context) error {
			return cluster.Await(ctx, "the end of replication", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, standby)
				return errors.Join(err, expect("receiving", st.Receiving, false))
			})
		}),
		step("pgtwin writes the file anew, and it streams again", func(ctx context.Context) error {
			return back(ctx, "connecting to "+primary.Name()+" anew")
		}),
		step("nothing has failed", s.c.AwaitCalm),
	)
}

// limitWAL says how much WAL is kept, for all hosts and for each, in MB.
func limitWAL(s *scene, keep, slots string) {
	s.tell(
		step("the administrator says how much WAL is kept", func(ctx context.Context) (err error) {
			const file = "/etc/pgtwin/pgtwin.toml"
			for _, h := range s.c.Hosts() {
				_, errOld := h.Run(ctx, "sed", "--in-place", "/^wal_keep_size/d", file)
				_, errNew := h.Run(ctx, "sed", "--in-place", `/^\[instance.`+cluster.Instance+`\]$/a wal_keep_size = "`+keep+`"`, file)
				err = errors.Join(err, errOld, errNew)
			}
			return errors.Join(err, s.c.SetParameter(ctx, "max_slot_wal_keep_size", slots))
		}),
		step("both hosts go by it", func(ctx context.Context) error {
			return cluster.Await(ctx, "the new limits", func(ctx context.Context) error {
				const question = "select pg_size_bytes(current_setting('wal_keep_size')) = pg_size_bytes('%s') and pg_size_bytes(current_setting('max_slot_wal_keep_size')) = pg_size_bytes('%sMB')"
				return sameAnswer(ctx, fmt.Sprintf(question, keep, slots), "t", s.c.Hosts()[0], s.c.Hosts()[1])
			})
		}),
	)
}

// outwrite writes so much WAL on a primary that what peer would need from a position on is not kept any more.
func outwrite(ctx context.Context, primary, peer *lab.Host, position string) error {
	for range 12 {
		if _, err := cluster.SQL(ctx, primary, "select pg_logical_emit_message(false, 'pgtwin', 'x'); select pg_switch_wal()"); err != nil {
			return err
		}
	}
	return cluster.Await(ctx, "the loss of the slot", func(ctx context.Context) error {
		question := fmt.Sprintf("checkpoint; select coalesce(restart_lsn > '%s', wal_status = 'lost') from pg_replication_slots where slot_name = '%s'", position, slotOf(peer))
		gone, err := cluster.SQL(ctx, primary, question)
		return errors.Join(err, expect("that it is lost", gone, "t"))
	})
}

// clonedFor waits until h is a standby in sync, by way of a clone for this reason.
func clonedFor(ctx context.Context, s *scene, h *lab.Host, why string) error {
	if err := s.c.AwaitStandby(ctx, h); err != nil {
		return err
	}
	log, err := h.Run(ctx, "journalctl", "--unit="+cluster.Unit, "--no-pager", "--output=cat")
	return errors.Join(err, mention("the log of the database unit", log, "cloning: from "+s.c.Other(h).Name()+": "+why))
}

// slotLost cuts the standby off for so long that the primary, which may keep only little WAL for it, has what it needs no
// more. It is copied anew, and no client notices.
func slotLost(s *scene) {
	primary, standby := s.hosts()
	s.happens(event.Event{Name: "slot lost", Limit: 15 * time.Second, Steps: []event.Step{
		{Text: "no replication gets through", Do: func(ctx context.Context) error { return standby.Cut(ctx, lab.Both, lab.Among(5432)) }},
		{Text: "the primary goes on alone", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "commits without a standby", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, primary)
				return errors.Join(err, expect("what commits wait for", st.Sync, ""))
			})
		}},
		{Text: "it writes more WAL than it may keep, and the slot is lost", Calm: 5 * time.Second, Do: func(ctx context.Context) error {
			needed, err := cluster.SQL(ctx, standby, "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())")
			if err != nil {
				return err
			}
			return outwrite(ctx, primary, standby, needed)
		}},
		{Text: "the link is back, and the standby is copied anew, in sync", Calm: 5 * time.Second, Do: func(ctx context.Context) error {
			if err := standby.Heal(ctx); err != nil {
				return err
			}
			return clonedFor(ctx, s, standby, "needs the WAL from ")
		}},
	}})
}

// formerPrimaryBackAfterLong brings a primary that has crashed back when the WAL is gone that a rewind would need: what is
// rewound would wait for it for ever.
func formerPrimaryBackAfterLong(s *scene) {
	old, successor := s.hosts()
	s.happens(event.Event{Name: "former primary back after long", Limit: 15 * time.Second, Steps: []event.Step{
		{Text: "the primary's host loses its power, and the other takes over", Do: func(ctx context.Context) error {
			if err := old.PowerOff(ctx); err != nil {
				return err
			}
			_, err := s.c.AwaitPrimary(ctx, successor)
			return err
		}},
		{Text: "the new primary writes more WAL than it may keep", Calm: 5 * time.Second, Do: func(ctx context.Context) error {
			now, err := cluster.SQL(ctx, successor, "select pg_current_wal_lsn()")
			if err != nil {
				return err
			}
			return outwrite(ctx, successor, old, now)
		}},
		{Text: "the lost host boots, and is copied anew, in sync", Calm: 5 * time.Second, Do: func(ctx context.Context) error {
			if err := old.Boot(ctx); err != nil {
				return err
			}
			return clonedFor(ctx, s, old, "to be rewound, needs the WAL from ")
		}},
	}})
}

// happens plays an event while clients write, none of whose acknowledged rows may be lost.
func (s *scene) happens(e event.Event) {
	s.Helper()
	if _, err := event.Run(s.Context(), s.c, e, s); err != nil {
		s.Fatal(err)
	}
}

// logicalSlot lets a subscriber go on after a failover where it was.
func logicalSlot(s *scene) {
	primary, standby := s.hosts()
	read := func(ctx context.Context, h *lab.Host) (string, error) {
		return cluster.SQL(ctx, h, "select string_agg(data, '; ') from pg_logical_slot_get_changes('sub', null, null) where data like 'table%'")
	}
	// A slot is safe on a standby only once the subscriber has got on, after a record of the running transactions (manual,
	// "Replication Slot Synchronization").
	synced := func(ctx context.Context, from, to *lab.Host) error {
		return cluster.Await(ctx, "the slot on "+to.Name(), func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, from, "insert into news values ('next'); select pg_log_standby_snapshot()"); err != nil {
				return err
			}
			if _, err := read(ctx, from); err != nil {
				return err
			}
			there, err := cluster.SQL(ctx, to, "select synced and not temporary and invalidation_reason is null from pg_replication_slots where slot_name = 'sub'")
			return errors.Join(err, expect("that it is synchronised", there, "t"))
		})
	}
	s.tell(
		step("wal_level is set to logical, and the hosts are restarted", func(ctx context.Context) error {
			for _, h := range s.c.Hosts() {
				if _, err := cluster.SQL(ctx, h, "alter system set wal_level = 'logical'"); err != nil {
					return err
				}
			}
			for _, target := range []string{"Stopped", "Started"} {
				if err := s.c.SetTarget(ctx, target); err != nil {
					return err
				}
				if target == "Stopped" {
					if err := errors.Join(s.c.AwaitGone(ctx, primary), s.c.AwaitGone(ctx, standby)); err != nil {
						return err
					}
				}
			}
			var err error
			primary, standby, err = s.c.AwaitBoth(ctx)
			return err
		}),
		step("a subscriber's slot is made, which is to outlive a failover", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, primary, "create table news (note text); select pg_create_logical_replication_slot('sub', 'test_decoding', false, false, true)")
			return err
		}),
		step("the standby has it, and the primary gives away only what the standby has", func(ctx context.Context) error {
			if err := synced(ctx, primary, standby); err != nil {
				return err
			}
			slots, err := cluster.SQL(ctx, primary, "select current_setting('synchronized_standby_slots')")
			return errors.Join(err, expect("synchronized_standby_slots", slots, slotOf(standby)))
		}),
		step("the subscriber reads, and the standby knows how far", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "insert into news values ('before')"); err != nil {
				return err
			}
			got, err := read(ctx, primary)
			if err := errors.Join(err, mention("what it reads", got, "before")); err != nil {
				return err
			}
			at, err := cluster.SQL(ctx, primary, "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'sub'")
			if err != nil {
				return err
			}
			return cluster.Await(ctx, "the position "+at, func(ctx context.Context) error {
				there, err := cluster.SQL(ctx, standby, "select confirmed_flush_lsn >= '"+at+"' from pg_replication_slots where slot_name = 'sub'")
				return errors.Join(err, expect("that it is there", there, "t"))
			})
		}),
		step("a row is written that it has not read, and the roles are changed in good order", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, primary, "insert into news values ('on the way')"); err != nil {
				return err
			}
			if err := s.c.Move(ctx, standby); err != nil {
				return err
			}
			_, err := s.c.AwaitPrimary(ctx, standby)
			return errors.Join(err, s.c.AwaitStandby(ctx, primary), s.c.Clear(ctx))
		}),
		step("the subscriber goes on where it was", func(ctx context.Context) error {
			got, err := read(ctx, standby)
			if strings.Contains(got, "before") {
				err = errors.Join(err, errors.New("it reads again what it had read"))
			}
			return errors.Join(err, mention("what it reads", got, "on the way"))
		}),
		step("the slot that the old primary has left gives way to the new primary's", func(ctx context.Context) error {
			if err := synced(ctx, standby, primary); err != nil {
				return err
			}
			log, err := primary.Run(ctx, "journalctl", "--unit="+cluster.Watcher, "--no-pager", "--output=cat")
			return errors.Join(err, mention("the supervisor's log", log, "drop slot sub: the slot of "+standby.Name()+" takes its place"))
		}),
		step("another row is written, and the new primary's host loses its power", func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, standby, "insert into news values ('meanwhile')"); err != nil {
				return err
			}
			return standby.PowerOff(ctx)
		}),
		step("the other takes over, and the subscriber goes on", func(ctx context.Context) error {
			if _, err := s.c.AwaitPrimary(ctx, primary); err != nil {
				return err
			}
			// Acknowledged only when commits go on without the lost host.
			if _, err := cluster.SQL(ctx, primary, "insert into news values ('after')"); err != nil {
				return err
			}
			got, err := read(ctx, primary)
			return errors.Join(err, mention("what it reads", got, "meanwhile", "after"))
		}),
		step("the lost host comes back, and has the slot again", func(ctx context.Context) error {
			return errors.Join(standby.Boot(ctx), s.c.AwaitStandby(ctx, standby), synced(ctx, primary, standby))
		}),
		step("no slot holds rows back for nobody", func(ctx context.Context) error {
			return cluster.Await(ctx, "slots without a horizon on the standby", func(ctx context.Context) error {
				got, err := cluster.SQL(ctx, standby, "select count(*) from pg_replication_slots where slot_type = 'physical' and xmin is not null")
				return errors.Join(err, expect("their number", got, 0))
			})
		}),
		step("the slot is dropped", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, primary, "select pg_drop_replication_slot('sub'); drop table news")
			st, errStatus := cluster.Status(ctx, primary)
			return errors.Join(err, errStatus, expect("its role", st.Role, ha.Primary))
		}),
	)
}
