//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// containerAndHostPackages changes container_mode and changes it back, on the same data.
func containerAndHostPackages(s *scene) {
	primary, _ := s.hosts()
	s.tell(step("a row is written", func(ctx context.Context) error {
		_, err := cluster.SQL(ctx, primary, "create table kept (note text); insert into kept values ('from "+s.c.Mode()+"')")
		return err
	}))
	s.tell(changeMode(s, !s.c.Containers())...)
	s.tell(changeMode(s, s.c.Containers())...)
	primary, _ = s.hosts()
	s.tell(step("the table is dropped", func(ctx context.Context) error {
		_, err := cluster.SQL(ctx, primary, "drop table kept")
		return err
	}))
}

func changeMode(s *scene, containers bool) []event.Step {
	runtime, container := "the host's packages", ""
	if containers {
		runtime, container = "podman", cluster.Instance
	}
	var primary, standby *lab.Host
	return []event.Step{
		step("the database is stopped", func(ctx context.Context) error {
			if err := s.c.SetTarget(ctx, "Stopped"); err != nil {
				return err
			}
			return errors.Join(s.c.AwaitGone(ctx, s.c.Hosts()[0]), s.c.AwaitGone(ctx, s.c.Hosts()[1]))
		}),
		step(fmt.Sprintf("container_mode is set to %t", containers), func(ctx context.Context) error {
			return errors.Join(
				// The default: the programs are elsewhere, where the distribution has them, and are found.
				s.c.SetParameter(ctx, "pg_bindir", "/usr/bin"),
				s.c.SetParameter(ctx, "container_mode", fmt.Sprint(containers)))
		}),
		step("the database is started, by "+runtime, func(ctx context.Context) (err error) {
			if err := s.c.SetTarget(ctx, "Started"); err != nil {
				return err
			}
			if primary, standby, err = s.c.AwaitBoth(ctx); err != nil {
				return err
			}
			for _, h := range s.c.Hosts() {
				names, err := h.Run(ctx, "podman", "ps", "--format={{.Names}}")
				if err != nil {
					return err
				}
				if err := expect("the container on "+h.Name(), strings.TrimSpace(names), container); err != nil {
					return err
				}
			}
			return nil
		}),
		step("the row is there on both hosts, and all processes are in the unit", func(ctx context.Context) error {
			if err := s.c.AwaitReplayed(ctx, primary, standby); err != nil {
				return err
			}
			return errors.Join(
				sameAnswer(ctx, "select note from kept", "from "+s.c.Mode(), primary, standby),
				processesInUnit(ctx, primary), processesInUnit(ctx, standby))
		}),
		step("nothing has failed", s.c.AwaitCalm),
	}
}
