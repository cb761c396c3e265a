//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

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
