//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"pgtwin/internal/control"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
)

// dataNotMounted starts a former primary whose data directory is a mount point without its file system, as after a boot that did
// not find the disk: a copy made there would fill the wrong disk and hide the right one.
func dataNotMounted(s *scene) {
	const disk = cluster.DataDir + "-disk"
	_, h := s.hosts()
	run := func(argv ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := h.Run(ctx, argv...)
			return err
		}
	}
	outOfService := []event.Step{
		step("the host is taken out of service", func(ctx context.Context) error {
			if err := s.c.Standby(ctx, h, true); err != nil {
				return err
			}
			return s.c.AwaitGone(ctx, h)
		}),
	}
	intoService := step("the host is put back into service", func(ctx context.Context) error { return s.c.Standby(ctx, h, false) })
	promoted := step("it becomes primary", func(ctx context.Context) error {
		if err := s.c.Move(ctx, h); err != nil {
			return err
		}
		if _, err := s.c.AwaitPrimary(ctx, h); err != nil {
			return err
		}
		return errors.Join(s.c.Clear(ctx), s.c.AwaitStandby(ctx, s.c.Other(h)))
	})
	inSync := step("it streams again, in sync", func(ctx context.Context) error { return s.c.AwaitStandby(ctx, h) })

	s.tell(outOfService...)
	s.tell(
		step("its data move to a file system of their own", run("mv", cluster.DataDir, disk)),
		step("the mount point is made", run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", cluster.DataDir)),
		step("it is mounted", run("mount", "--bind", disk, cluster.DataDir)),
		intoService, inSync, promoted,
	)
	s.tell(outOfService...)
	s.tell(
		step("the file system is not there any more", run("umount", cluster.DataDir)),
		intoService,
		step("the former primary waits and says for what", func(ctx context.Context) error {
			return cluster.Await(ctx, "the former primary to wait", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, h)
				if err == nil && (st.Phase != control.PhaseWaiting || !strings.Contains(st.Detail, cluster.DataDir+" is not mounted")) {
					err = fmt.Errorf("it is %s: %s", st.Phase, st.Detail)
				}
				return err
			})
		}),
		step("nothing was put into the mount point", func(ctx context.Context) error {
			found, err := h.Run(ctx, "ls", "-A", cluster.DataDir)
			if err == nil && found != "" {
				err = fmt.Errorf("%s", found)
			}
			return err
		}),
		step("asking for the status starts nothing", func(ctx context.Context) error {
			if err := answersOnSocket(ctx, h, "/health", http.StatusServiceUnavailable); err != nil {
				return err
			}
			running, err := cluster.Processes(ctx, h)
			return errors.Join(err, expect("the number of PostgreSQL's processes", len(running), 0))
		}),
		step("it is mounted again", run("mount", "--bind", disk, cluster.DataDir)),
		inSync,
	)
	s.tell(outOfService...)
	s.tell(
		step("the data move back", func(ctx context.Context) error {
			for _, argv := range [][]string{{"umount", cluster.DataDir}, {"rmdir", cluster.DataDir}, {"mv", disk, cluster.DataDir}} {
				if _, err := h.Run(ctx, argv...); err != nil {
					return err
				}
			}
			return nil
		}),
		intoService, inSync,
		step("nothing has failed", s.c.AwaitCalm),
	)
}
