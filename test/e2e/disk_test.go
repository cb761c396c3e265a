//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// Each host's data on a file system of their own, which can be filled and frozen.
const (
	diskImage = "/var/lib/pgsql/disk.img"
	diskSize  = "3G"
	diskMoved = cluster.DataDir + "-moved"
	diskFill  = cluster.DataDir + "/fill"
)

// disks plays what disks do: they get full, and they hang.
func disks(s *scene) {
	for _, h := range s.c.Hosts() {
		s.tell(outOfService(s.c, h, "the data on "+h.Name()+" move to a disk of their own", toDisk)...)
	}
	for _, tell := range []story{primaryDiskHangs, standbyDiskFull, primaryDiskFull} {
		if _, err := event.Run(s.Context(), s.c, tell(s.c), s); err != nil {
			s.Fatal(err)
		}
		s.tell(step("the cluster is put to rest", s.c.Settle))
	}
	for _, h := range s.c.Hosts() {
		s.tell(outOfService(s.c, h, "the data on "+h.Name()+" move back", fromDisk)...)
	}
	s.tell(step("nothing has failed", s.c.AwaitCalm))
}

// outOfService takes a host out of the cluster's service for some work on it.
func outOfService(c *cluster.Cluster, h *lab.Host, text string, work func(context.Context, *lab.Host) error) []event.Step {
	return []event.Step{
		step(h.Name()+" is taken out of service", func(ctx context.Context) error {
			return errors.Join(c.Standby(ctx, h, true), c.AwaitGone(ctx, h))
		}),
		step(text, func(ctx context.Context) error { return work(ctx, h) }),
		step(h.Name()+" is back in service", func(ctx context.Context) error {
			if err := c.Standby(ctx, h, false); err != nil {
				return err
			}
			_, _, err := c.AwaitBoth(ctx)
			return err
		}),
	}
}

func programsInHost(ctx context.Context, h *lab.Host, programs ...[]string) error {
	for _, argv := range programs {
		if _, err := h.Run(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

func mountDisk(ctx context.Context, h *lab.Host) error {
	return programsInHost(ctx, h, []string{"mount", "-o", "loop", diskImage, cluster.DataDir})
}

func toDisk(ctx context.Context, h *lab.Host) error {
	err := programsInHost(ctx, h,
		[]string{"mv", cluster.DataDir, diskMoved},
		[]string{"install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", cluster.DataDir},
		[]string{"truncate", "--size", diskSize, diskImage},
		[]string{"mkfs.btrfs", "--quiet", "--force", diskImage})
	if err != nil {
		return err
	}
	if err := mountDisk(ctx, h); err != nil {
		return err
	}
	return programsInHost(ctx, h,
		[]string{"cp", "-a", diskMoved + "/.", cluster.DataDir},
		[]string{"rm", "-rf", diskMoved})
}

func fromDisk(ctx context.Context, h *lab.Host) error {
	return programsInHost(ctx, h,
		[]string{"cp", "-a", cluster.DataDir, diskMoved},
		[]string{"umount", cluster.DataDir},
		[]string{"rmdir", cluster.DataDir},
		[]string{"mv", diskMoved, cluster.DataDir},
		[]string{"rm", diskImage})
}

// fill leaves nothing free on the disk: most of it at once, and the rest by writing until that fails.
func fill(ctx context.Context, h *lab.Host) error {
	const rest = 512 << 20
	text, err := h.Run(ctx, "df", "--block-size=1", "--output=avail", cluster.DataDir)
	if err != nil {
		return err
	}
	_, text, _ = strings.Cut(strings.TrimSpace(text), "\n")
	free, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return err
	}
	if err := programsInHost(ctx, h, []string{"fallocate", "--length", strconv.Itoa(free - rest), diskFill}); err != nil {
		return err
	}
	_, err = h.Run(ctx, "dd", "if=/dev/zero", "of="+diskFill, "bs=1M", "oflag=append", "conv=notrunc")
	if err == nil || !strings.Contains(err.Error(), "No space left") {
		return fmt.Errorf("cannot fill the disk of %s: %w", h.Name(), err)
	}
	return nil
}

func empty(ctx context.Context, h *lab.Host) error {
	return programsInHost(ctx, h, []string{"rm", diskFill})
}

// bulk is more WAL than a segment: it wants another file.
const bulk = "create table bulk as select i, md5(i::text) from generate_series(1, 400000) as i; drop table bulk"

// standbyDiskFull: the standby cannot store WAL and falls behind; the primary goes on without it.
func standbyDiskFull(c *cluster.Cluster) event.Event {
	var primary, standby *lab.Host
	return event.Event{Name: "standby's disk full", Limit: 20 * time.Second, Steps: []event.Step{
		step("the standby's disk is filled", func(ctx context.Context) (err error) {
			if primary, err = c.Primary(ctx); err != nil {
				return err
			}
			standby = c.Other(primary)
			return fill(ctx, standby)
		}),
		step("the primary writes more than there is room for", func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, primary, bulk)
			return err
		}),
		step("the standby is on record as behind, the primary serves", func(ctx context.Context) error {
			return cluster.Await(ctx, "commits without a standby", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, primary)
				if err == nil && (st.Role != ha.Primary || st.Sync != "") {
					err = fmt.Errorf("%s is %s, and commits wait for %q", primary.Name(), st.Role, st.Sync)
				}
				return err
			})
		}),
		step("there is room again, and the standby in sync", func(ctx context.Context) error {
			return errors.Join(empty(ctx, standby), c.AwaitStandby(ctx, standby))
		}),
	}}
}

// primaryDiskFull: a primary that cannot write WAL ends, and the standby, which has everything, takes over.
func primaryDiskFull(c *cluster.Cluster) event.Event {
	var primary *lab.Host
	return event.Event{Name: "primary's disk full", Limit: 20 * time.Second, Steps: []event.Step{
		step("the primary's disk is filled, and it writes on", func(ctx context.Context) (err error) {
			if primary, err = c.Primary(ctx); err != nil {
				return err
			}
			if err := fill(ctx, primary); err != nil {
				return err
			}
			if _, err := cluster.SQL(ctx, primary, bulk); err == nil {
				return errors.New("there was room for more")
			}
			// Where the table finds no room first, the session alone fails; where the WAL does, the server ends.
			return nil
		}),
		step("a host serves", func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, nil)
			return err
		}),
		step("there is room again, and both are in sync", func(ctx context.Context) error {
			if err := empty(ctx, primary); err != nil {
				return err
			}
			_, _, err := c.AwaitBoth(ctx)
			return err
		}),
	}}
}

// primaryDiskHangs: nothing gets to the disk and nothing fails. No signal ends a process that waits for it, only fencing.
func primaryDiskHangs(c *cluster.Cluster) event.Event {
	var primary *lab.Host
	return event.Event{Name: "primary's disk hangs", Limit: 90 * time.Second, Steps: []event.Step{
		step("the primary's disk is frozen", func(ctx context.Context) (err error) {
			if primary, err = c.Primary(ctx); err != nil {
				return err
			}
			return programsInHost(ctx, primary, []string{"fsfreeze", "--freeze", cluster.DataDir})
		}),
		step("its host is fenced, and the other takes over", func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(primary))
			return err
		}),
		step("the host boots, with its disk", func(ctx context.Context) error {
			if err := primary.Boot(ctx); err != nil {
				return err
			}
			return mountDisk(ctx, primary)
		}),
		step("it is back as a streaming standby, in sync", func(ctx context.Context) error { return c.AwaitStandby(ctx, primary) }),
	}}
}
