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
	"strings"
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
			_, err = cluster.SQL(ctx, primary, "create tablespace fast location '"+spaceDir+"';\n"+
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

// cloning is the status of the clone while it is under way.
func (r *rejoin) cloning(ctx context.Context, want func(control.State) error) error {
	return cluster.Await(ctx, "the clone", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		switch {
		case err != nil:
			return err
		case st.Phase != control.PhaseCloning || st.Progress == nil || st.Progress.Done == 0:
			return fmt.Errorf("%s: %s", st.Phase, st.Detail)
		}
		return want(st)
	})
}

func underWay(control.State) error { return nil }

// linksOf is where a data directory has its WAL and the only tablespace.
func (r *rejoin) linksOf(ctx context.Context, data string) (wal, space string, err error) {
	wal, err = r.standby.Run(ctx, "readlink", data+"/pg_wal")
	if err != nil {
		return "", "", err
	}
	space, err = r.standby.Run(ctx, "find", data+"/pg_tblspc", "-type", "l", "-printf", "%l")
	return strings.TrimSpace(wal), space, err
}

func (r *rejoin) inPlace(ctx context.Context, data, wal, space string) error {
	gotWAL, gotSpace, err := r.linksOf(ctx, data)
	if err == nil && (gotWAL != wal || gotSpace != space) {
		err = fmt.Errorf("%s has its WAL in %s and its tablespace in %s", data, gotWAL, gotSpace)
	}
	return err
}

// keptWhole looks for the old data in the copy that pgtwin status names.
func (r *rejoin) keptWhole(ctx context.Context) error {
	var kept string
	err := cluster.Await(ctx, "the replaced data to be shown", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		if len(st.Replaced) != 1 {
			return fmt.Errorf("it shows %v", st.Replaced)
		}
		kept = st.Replaced[0] // for a moment still the one before
		_, err = r.standby.Run(ctx, "test", "-e", path.Join(kept, r.old))
		return err
	})
	if err != nil {
		return err
	}
	mark := kept[strings.LastIndex(kept, ".replaced-"):]
	if err := r.inPlace(ctx, kept, walDir+mark, spaceDir+mark); err != nil {
		return err
	}
	for _, file := range []string{kept + "/global/pg_control", spaceDir + mark + "/" + r.old, walDir + mark} {
		if _, err := r.standby.Run(ctx, "test", "-e", file); err != nil {
			return fmt.Errorf("%s is not kept", file)
		}
	}
	// Status says it, too; the standby may have a warning, so its exit status is no matter.
	out, _ := r.standby.Run(ctx, "pgtwin", "status", cluster.Instance)
	if !strings.Contains(out, kept) {
		return fmt.Errorf("pgtwin status does not show %s:\n%s", kept, out)
	}
	return nil
}

// tidy says what is left beside the data and the one kept copy.
func (r *rejoin) tidy(ctx context.Context) error {
	out, err := r.standby.Run(ctx, "find", path.Dir(cluster.DataDir), path.Dir(spaceDir), "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-printf", "%f\n")
	if err != nil {
		return err
	}
	found := strings.Fields(out)
	slices.Sort(found)
	for i, name := range found {
		found[i], _, _ = strings.Cut(name, ".replaced-")
	}
	want := []string{"data", "data", "fast", "fast", "wal", "wal"}
	if r.mounted {
		want = want[1:]
	}
	if !slices.Equal(found, want) {
		return fmt.Errorf("there are %s", strings.Fields(out))
	}
	return nil
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

func paced(st control.State) error {
	if p := st.Progress; p.Rate == 0 || p.Total < int64(*large)<<20 || p.Left() == 0 {
		return fmt.Errorf("progress %+v", *p)
	}
	if rate := st.Progress.Rate; rate > int64(cloneRate())<<20*5/4 {
		return fmt.Errorf("%s/s are more than basebackup_max_rate", control.Size(rate))
	}
	return nil
}

func (r *rejoin) shown(ctx context.Context) error {
	return cluster.Await(ctx, "the progress to be shown", func(ctx context.Context) error {
		line, err := cluster.Property(ctx, r.standby, cluster.Unit, "StatusText")
		if err != nil {
			return err
		}
		// It exits with 1: the standby is missing.
		table, _ := r.standby.Run(ctx, "pgtwin", "status", cluster.Instance)
		for _, text := range []string{line, table} {
			for _, part := range []string{"%", " MB of ", " MB/s, ", "s left"} {
				if !strings.Contains(text, part) {
					return fmt.Errorf("there is no %q in: %s", part, text)
				}
			}
		}
		return nil
	})
}

// leanGrowth is what the runtime of Go may take more at some moment.
const leanGrowth = 16 << 10 // kB

// lean watches the resident memory of the helper to the end of the clone.
func (r *rejoin) lean(ctx context.Context) error {
	pid, err := cluster.MainPID(ctx, r.standby, cluster.Unit)
	if err != nil {
		return err
	}
	least, most := 0, 0
	err = cluster.Await(ctx, "the end of the clone", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		if st.Phase != control.PhaseCloning {
			return nil
		}
		now, err := residentKB(ctx, r.standby, pid)
		if err != nil {
			return err
		}
		if least == 0 {
			least = now
		}
		least, most = min(least, now), max(most, now)
		return fmt.Errorf("%s: %s", st.Phase, sentenceOf(st))
	})
	if err == nil && (least == 0 || most-least > leanGrowth) {
		err = fmt.Errorf("the helper had between %d and %d kB", least, most)
	}
	return err
}

func sentenceOf(st control.State) string {
	if st.Progress == nil {
		return st.Detail
	}
	return st.Detail + ", " + st.Progress.Amount()
}

func residentKB(ctx context.Context, h *lab.Host, pid int) (kb int, err error) {
	text, err := h.Run(ctx, "grep", "VmRSS", fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(text, "VmRSS: %d kB", &kb)
	return kb, err
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

// fillBut leaves no more than so many bytes free.
func fillBut(ctx context.Context, h *lab.Host, disk, file string, leave int64) error {
	text, err := h.Run(ctx, "df", "--block-size=1", "--output=avail", disk)
	if err != nil {
		return err
	}
	_, text, _ = strings.Cut(strings.TrimSpace(text), "\n")
	free, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return err
	}
	return programsInHost(ctx, h, []string{"fallocate", "--length", strconv.FormatInt(free-leave, 10), file}, []string{"sync", "--file-system", disk})
}

func (r *rejoin) short(ctx context.Context) error {
	return r.waits(ctx, "cannot put "+spaceDir+" on "+spaceDisk+": ", " MB needed, ", " MB free: make ", "follows in ")
}

// waits returns when the host says what it waits for.
func (r *rejoin) waits(ctx context.Context, parts ...string) error {
	return cluster.Await(ctx, "the host to say what it waits for", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if st.Phase != control.PhaseWaiting || !strings.Contains(st.Detail, part) {
				return fmt.Errorf("there is no %q in: %s: %s", part, st.Phase, st.Detail)
			}
		}
		return nil
	})
}

// untouched looks whether the old data are where they were.
func (r *rejoin) untouched(ctx context.Context) error {
	for _, dir := range []string{cluster.DataDir, spaceDir} {
		if _, err := r.standby.Run(ctx, "test", "-e", path.Join(dir, r.old)); err != nil {
			return fmt.Errorf("%s is not the old one any more", dir)
		}
	}
	return nil
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

// dataInMountPoint mounts a disk at the data directory of every host.
func dataInMountPoint(s *scene) {
	for _, h := range s.c.Hosts() {
		s.tell(outOfService(s.c, h, "the data on "+h.Name()+" move to a disk of their own", func(ctx context.Context, h *lab.Host) error {
			if _, err := h.Run(ctx, "sh", "-c", "rm -rf "+cluster.DataDir+".replaced-* "+walDir+".replaced-* "+spaceDir+".replaced-*"); err != nil {
				return err
			}
			return toDisk(ctx, h)
		})...)
	}
}

// clonedInMountPoint: what cannot be renamed is moved, part by part. What is kept is in the mount point then, and no part of
// a copy that is made from there.
func clonedInMountPoint(c *cluster.Cluster) event.Event {
	r, next := &rejoin{c: c, mounted: true}, &rejoin{c: c, mounted: true}
	return event.Event{Name: "standby cloned in a mount point, and the other from it", Limit: 15 * time.Second, Steps: slices.Concat(r.begin(), r.end(), []event.Step{
		step("the standby is promoted", func(ctx context.Context) error {
			if err := c.Move(ctx, r.standby); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, r.standby)
			return errors.Join(err, c.AwaitStandby(ctx, r.primary), c.Clear(ctx))
		}),
	}, next.begin(), next.end(), []event.Step{
		step("each host has kept its own", func(ctx context.Context) error { return errors.Join(r.keptAlone(ctx), next.keptAlone(ctx)) }),
	})}
}

// keptAlone looks into the directory for what is kept in a mount point.
func (r *rejoin) keptAlone(ctx context.Context) error {
	found, err := r.standby.Run(ctx, "find", cluster.DataDir+"/pgtwin", "-mindepth", "1", "-maxdepth", "2", "(", "-name", "pgsql_tmp*", "-o", "-name", "old-*", ")")
	if names := strings.Fields(found); err == nil && (len(names) != 2 || !strings.HasSuffix(found, "/"+r.old+"\n")) {
		err = fmt.Errorf("%s has %v", r.standby.Name(), names)
	}
	return err
}

// Both hosts' data in a btrfs subvolume.
const (
	btrfsImage = "/srv/btrfs.img"
	dataBefore = "/srv/pgsql-before"
)

// dataOnBtrfs puts a btrfs file system in the place of what is above the data directory, and the data into subvolumes.
func dataOnBtrfs(s *scene) {
	above := path.Dir(cluster.DataDir)
	for _, h := range s.c.Hosts() {
		s.tell(outOfService(s.c, h, "the data on "+h.Name()+" move into btrfs subvolumes", func(ctx context.Context, h *lab.Host) error {
			return programsInHost(ctx, h,
				[]string{"truncate", "--size", "2G", btrfsImage},
				[]string{"mkfs.btrfs", "--quiet", btrfsImage},
				[]string{"mkdir", dataBefore},
				[]string{"mount", "--bind", above, dataBefore},
				[]string{"mount", "-o", "loop", btrfsImage, above},
				[]string{"btrfs", "subvolume", "create", cluster.DataDir},
				[]string{"btrfs", "subvolume", "create", walDir},
				[]string{"cp", "-a", "-T", dataBefore + "/data", cluster.DataDir},
				[]string{"cp", "-a", "-T", dataBefore + "/wal", walDir},
				[]string{"cp", "-a", dataBefore + "/.pgpass", above},
				[]string{"umount", dataBefore},
				// The tablespace becomes one, too.
				[]string{"mv", spaceDir, spaceDir + "-before"},
				[]string{"btrfs", "subvolume", "create", spaceDir},
				[]string{"cp", "-a", "-T", spaceDir + "-before", spaceDir},
				[]string{"rm", "-rf", spaceDir + "-before"},
				[]string{"rm", "-f", config.MountFile(cluster.Instance)})
		})...)
	}
}

// isSubvolume says whether dir is one: the root of each has this inode number.
func isSubvolume(ctx context.Context, h *lab.Host, dir string) error {
	inode, err := h.Run(ctx, "stat", "--format=%i", dir)
	if err == nil && strings.TrimSpace(inode) != "256" {
		err = fmt.Errorf("%s is no subvolume", dir)
	}
	return err
}

// rewoundOnBtrfs: what a rewind changes is kept as a snapshot.
func rewoundOnBtrfs(c *cluster.Cluster) event.Event {
	e := event.PostmasterKilled(c)
	e.Name = "primary rewound on btrfs"
	var old *lab.Host
	before := step("the primary's host is noted", func(ctx context.Context) (err error) {
		old, err = c.Primary(ctx)
		return err
	})
	after := step("the data before the rewind are kept as snapshots", func(ctx context.Context) error {
		return cluster.Await(ctx, "the snapshot", func(ctx context.Context) error {
			st, err := cluster.Status(ctx, old)
			if err != nil {
				return err
			}
			if len(st.Replaced) != 1 {
				return fmt.Errorf("it shows %v", st.Replaced)
			}
			mark := strings.TrimPrefix(st.Replaced[0], cluster.DataDir)
			for _, dir := range []string{cluster.DataDir, walDir, spaceDir} {
				if err := isSubvolume(ctx, old, dir+mark); err != nil {
					return err
				}
				if _, err := old.Run(ctx, "touch", dir+mark+"/written"); err == nil {
					return fmt.Errorf("%s%s can be written", dir, mark)
				}
			}
			return nil
		})
	})
	e.Steps = slices.Concat([]event.Step{before}, e.Steps, []event.Step{after})
	return e
}

// clonedOnBtrfs: the copy of a subvolume is one.
func clonedOnBtrfs(c *cluster.Cluster) event.Event {
	return tellClone(c, "standby cloned on btrfs", func(r *rejoin) []event.Step {
		return []event.Step{step("the copies are subvolumes", func(ctx context.Context) error {
			if err := r.c.AwaitStandby(ctx, r.standby); err != nil {
				return err
			}
			for _, dir := range []string{cluster.DataDir, walDir, spaceDir} {
				if err := isSubvolume(ctx, r.standby, dir); err != nil {
					return err
				}
			}
			return nil
		})}
	})
}
