//go:build lab

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

var large = flag.Int("large", 120, "MB in the tablespace of the database that is cloned")

// Where the cloned database has what is not in its data directory: a tablespace on a disk of its own, and the WAL.
const (
	spaceDisk  = "/srv/space"
	spaceImage = "/var/lib/pgsql/space.img"
	spaceDir   = spaceDisk + "/fast"
	spaceFill  = spaceDisk + "/fill"
	walDir     = "/var/lib/pgsql/wal"
)

// cloneRate is in MB per second: slow enough to be seen and interrupted, whatever the size, and fast enough to come to an end.
func cloneRate() int { return max(20, *large/60) }

// TestClone brings a standby back by a clone, with a tablespace and a WAL directory outside of the data directory, and
// interrupts it in every way, while clients write.
func TestClone(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, containers := range []bool{true, false} {
		o := cluster.Options{Containers: containers, Tree: tree, Log: t.Output()}
		t.Run(modeName(o), func(t *testing.T) {
			s := newStage(t, o)
			s.play(scenario{"cold start", coldStart})
			s.play(scenario{"tablespace and WAL outside", spreadOut})
			s.events(cloned)
			if !containers { // the rest is the same
				s.play(scenario{"data on btrfs", dataOnBtrfs})
				s.events(rewoundOnBtrfs, clonedOnBtrfs)
				return
			}
			s.events(cloneWithoutRoom, powerOffWhileCloning, linkCutWhileCloning)
			for n := range *moments {
				s.events([]story{helperKilledWhileCloning, jobKilledWhileCloning}[n%2])
			}
			s.play(scenario{"data in a mount point", dataInMountPoint})
			s.events(clonedInMountPoint)
		})
	}
}

// spreadOut gives both hosts a disk for a tablespace and moves the WAL out of the data directory.
func spreadOut(s *scene) {
	stopped := step("the database is stopped", func(ctx context.Context) error {
		if err := s.c.SetTarget(ctx, "Stopped"); err != nil {
			return err
		}
		return errors.Join(s.c.AwaitGone(ctx, s.c.Hosts()[0]), s.c.AwaitGone(ctx, s.c.Hosts()[1]))
	})
	s.tell(stopped)
	for _, h := range s.c.Hosts() {
		s.tell(step("the directories of "+h.Name()+" are made and known to pgtwin", func(ctx context.Context) error {
			return spreadOutHost(ctx, h)
		}))
	}
	s.tell(
		step("the database is started", func(ctx context.Context) error {
			if err := s.c.SetTarget(ctx, "Started"); err != nil {
				return err
			}
			_, _, err := s.c.AwaitBoth(ctx)
			return err
		}),
		step(fmt.Sprintf("%d MB are put into a tablespace, and the clients' rows", *large), func(ctx context.Context) error {
			primary, err := s.c.Primary(ctx)
			if err != nil {
				return err
			}
			_, err = cluster.SQLIn(ctx, primary, cluster.Ledger, "create tablespace fast location '"+spaceDir+"';\n"+
				"alter table ledger set tablespace fast;\n"+
				fmt.Sprintf("create table bulky tablespace fast as select repeat('x', 1000) from generate_series(1, %d)", *large*1000))
			return err
		}),
		step("both are in sync", func(ctx context.Context) error {
			primary, standby, err := s.c.AwaitBoth(ctx)
			if err != nil {
				return err
			}
			return s.c.AwaitReplayed(ctx, primary, standby)
		}),
	)
}

func spreadOutHost(ctx context.Context, h *lab.Host) error {
	const toml = "/etc/pgtwin/pgtwin.toml"
	given, err := h.ReadFile(toml)
	if err != nil {
		return err
	}
	defaults := fmt.Sprintf("[defaults]\ncontainer_dirs = [%q]\nbasebackup_max_rate = \"%dMB\"\n\n", spaceDisk, cloneRate())
	size := fmt.Sprintf("%dM", 1024+4**large)
	return errors.Join(
		cluster.Write(ctx, h, toml, "root", 0o644, defaults+string(given)),
		programsInHost(ctx, h,
			[]string{"mkdir", spaceDisk},
			[]string{"truncate", "--size", size, spaceImage},
			[]string{"mkfs.btrfs", "--quiet", spaceImage},
			[]string{"mount", "-o", "loop", spaceImage, spaceDisk},
			[]string{"install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", spaceDir},
			[]string{"mv", cluster.DataDir + "/pg_wal", walDir},
			[]string{"ln", "-s", walDir, cluster.DataDir + "/pg_wal"}),
	)
}

// rejoin is the standby's way back by a clone.
type rejoin struct {
	c                *cluster.Cluster
	primary, standby *lab.Host
	old              string // what the old data directory has alone
	mounted          bool   // the data directory is a mount point
}

// begin makes sure that the standby has to be cloned, and lets it.
func (r *rejoin) begin() []event.Step {
	return []event.Step{
		step("the standby is taken out of service", func(ctx context.Context) (err error) {
			if r.primary, err = r.c.Primary(ctx); err != nil {
				return err
			}
			r.standby = r.c.Other(r.primary)
			return errors.Join(r.c.Standby(ctx, r.standby, true), r.c.AwaitGone(ctx, r.standby))
		}),
		step("its data turn out to be half rewound", func(ctx context.Context) error {
			r.old = "old-" + strconv.FormatInt(time.Now().UnixNano(), 36)
			return errors.Join(
				cluster.Write(ctx, r.standby, config.MarkerFile(cluster.Instance), "root", 0o600, "rewind\n"),
				cluster.Write(ctx, r.standby, path.Join(cluster.DataDir, r.old), "postgres", 0o600, ""),
				cluster.Write(ctx, r.standby, path.Join(spaceDir, r.old), "postgres", 0o600, ""))
		}),
		step("it is put back into service", func(ctx context.Context) error { return r.c.Standby(ctx, r.standby, false) }),
	}
}

// end is a standby that could take over, its data in the same places as the primary's, and the old data kept, whole.
func (r *rejoin) end() []event.Step {
	return []event.Step{
		step("it streams, in sync", func(ctx context.Context) error { return r.c.AwaitStandby(ctx, r.standby) }),
		step("tablespace and WAL are in their places", func(ctx context.Context) error { return r.inPlace(ctx, cluster.DataDir, walDir, spaceDir) }),
		step("the old data are kept, whole, and shown", func(ctx context.Context) error { return r.keptWhole(ctx) }),
		step("only they are left", func(ctx context.Context) error {
			return cluster.Await(ctx, "what is not needed to be gone", r.tidy)
		}),
	}
}

func tellClone(c *cluster.Cluster, name string, meanwhile func(*rejoin) []event.Step) event.Event {
	r := &rejoin{c: c}
	// Commits do not wait for a standby that was taken away; a host that is lost is fenced.
	return event.Event{Name: name, Limit: 15 * time.Second, Steps: slices.Concat(r.begin(), meanwhile(r), r.end())}
}

// cloned is a clone that nothing interrupts: what it shows, and what it costs the host.
func cloned(c *cluster.Cluster) event.Event {
	return tellClone(c, "standby cloned", func(r *rejoin) []event.Step {
		return []event.Step{
			step("the status has bytes, rate and time left", func(ctx context.Context) error { return r.cloning(ctx, paced) }),
			step("so have systemctl status and pgtwin status", func(ctx context.Context) error { return r.shown(ctx) }),
			step("the memory of the helper does not grow", func(ctx context.Context) error { return r.lean(ctx) }),
		}
	})
}

// cloneWithoutRoom: where the copy does not fit beside the old data nothing is touched, and what is needed is said.
func cloneWithoutRoom(c *cluster.Cluster) event.Event {
	r := &rejoin{c: c}
	begin := r.begin()
	full := step("the disk of the tablespace is nearly full", func(ctx context.Context) error {
		return fillBut(ctx, r.standby, spaceDisk, spaceFill, int64(*large)<<20/2)
	})
	return event.Event{Name: "clone without room", Limit: 15 * time.Second, Steps: slices.Concat(
		begin[:2], []event.Step{full}, begin[2:],
		[]event.Step{
			step("it waits and says how much room it needs, and where", func(ctx context.Context) error { return r.short(ctx) }),
			step("the old data are still there", r.untouched),
			step("there is room again", func(ctx context.Context) error { return programsInHost(ctx, r.standby, []string{"rm", spaceFill}) }),
		},
		r.end())}
}

func powerOffWhileCloning(c *cluster.Cluster) event.Event {
	fenced := 0
	return tellClone(c, "host powered off during its clone", func(r *rejoin) []event.Step {
		return []event.Step{
			step("the clone is under way", func(ctx context.Context) error { return r.cloning(ctx, underWay) }),
			step("the host loses its power", func(ctx context.Context) (err error) {
				if fenced, err = c.Fenced(r.standby); err != nil {
					return err
				}
				return r.standby.PowerOff(ctx)
			}),
			// Booted before, it would be fenced in the middle of that.
			step("it is fenced", func(ctx context.Context) error {
				return cluster.Await(ctx, "the fencing", func(context.Context) error {
					now, err := c.Fenced(r.standby)
					if err == nil && now == fenced {
						err = errors.New("nobody has fenced it")
					}
					return err
				})
			}),
			step("it boots, without the disk of the tablespace", func(ctx context.Context) error { return r.standby.Boot(ctx) }),
			step("it waits for the disk", func(ctx context.Context) error { return r.waits(ctx, spaceDisk+" is not mounted") }),
			step("the disk is mounted", func(ctx context.Context) error {
				return programsInHost(ctx, r.standby, []string{"mount", "-o", "loop", spaceImage, spaceDisk})
			}),
			step("the clone begins anew, the old data are still there", func(ctx context.Context) error {
				return errors.Join(r.cloning(ctx, underWay), r.untouched(ctx))
			}),
		}
	})
}

func linkCutWhileCloning(c *cluster.Cluster) event.Event {
	return tellClone(c, "link cut during a clone", func(r *rejoin) []event.Step {
		return []event.Step{
			step("the clone is under way", func(ctx context.Context) error { return r.cloning(ctx, underWay) }),
			step("no replication gets through", func(ctx context.Context) error { return r.standby.Cut(ctx, lab.Both, lab.Among(5432)) }),
			step("the clone fails, and the host says so, or what it waits for", func(ctx context.Context) error { return r.waits(ctx, "") }),
			step("the old data are still there", r.untouched),
			step("the link is back", func(ctx context.Context) error { return r.standby.Heal(ctx) }),
		}
	})
}

// atAMoment waits for a random part of the time that a clone takes.
func atAMoment(ctx context.Context, r *rejoin) error {
	if err := r.cloning(ctx, underWay); err != nil {
		return err
	}
	took := time.Duration(*large/cloneRate()+8) * time.Second
	select {
	case <-time.After(rand.N(took)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func jobKilledWhileCloning(c *cluster.Cluster) event.Event {
	return tellClone(c, "clone killed at a random moment", func(r *rejoin) []event.Step {
		return []event.Step{step("what copies, or verifies, is killed", func(ctx context.Context) error {
			if err := atAMoment(ctx, r); err != nil {
				return err
			}
			_, err := r.standby.Run(ctx, "pkill", "--signal", "KILL", "^(pg_basebackup|pg_verifybackup)$")
			if cluster.ExitCode(err) == 1 { // pkill(1): no process matched, the copy was complete
				return nil
			}
			return err
		})}
	})
}

func helperKilledWhileCloning(c *cluster.Cluster) event.Event {
	return tellClone(c, "helper killed at a random moment of a clone", func(r *rejoin) []event.Step {
		return []event.Step{step("the helper is killed, unless it is done", func(ctx context.Context) error {
			if err := atAMoment(ctx, r); err != nil {
				return err
			}
			st, err := cluster.Status(ctx, r.standby)
			if err != nil || st.Role == ha.Standby || st.Phase == control.PhaseRunning {
				return err
			}
			pid, err := cluster.MainPID(ctx, r.standby, cluster.Unit)
			if err != nil || pid == 0 {
				return err
			}
			return cluster.Kill(ctx, r.standby, pid)
		})}
	})
}
