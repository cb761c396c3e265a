//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgtwin/internal/control"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// A server of somebody else's, which Pacemaker knows nothing of.
const (
	foreignUnit = "foreign.service"
	foreignData = "/var/lib/pgsql/foreign"
)

// foreignServer lets another cluster's server answer where the standby expects its primary. The standby waits, and says for
// what; its data stay as they are.
func foreignServer(s *scene) {
	c := s.c
	primary, standby := s.hosts()
	s.run(event.Event{Name: "foreign server in the primary's place", Limit: 2 * time.Minute, Steps: []event.Step{
		step("the standby's host is taken out of service, then the primary's", func(ctx context.Context) error {
			for _, h := range []*lab.Host{standby, primary} {
				if err := errors.Join(c.Standby(ctx, h, true), c.AwaitGone(ctx, h)); err != nil {
					return err
				}
			}
			return nil
		}),
		step("another cluster's server is started on the primary's host, at its port", func(ctx context.Context) error {
			return startForeign(ctx, primary)
		}),
		step("the standby's host is back in service: the standby waits, and says for what", func(ctx context.Context) error {
			if err := c.Standby(ctx, standby, false); err != nil {
				return err
			}
			return cluster.Await(ctx, "the standby to wait", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, standby)
				if err == nil && (st.Phase != control.PhaseWaiting || !strings.Contains(st.Detail, "another cluster")) {
					err = fmt.Errorf("it is %s: %s", st.Phase, st.Detail)
				}
				return err
			})
		}),
		step("it looks again and again, and neither follows nor copies the server", func(ctx context.Context) error {
			if err := awaitConnections(ctx, primary, 5); err != nil {
				return err
			}
			log, err := activationLog(ctx, standby)
			if err != nil {
				return err
			}
			if strings.Contains(log, serverStarts) {
				return fmt.Errorf("it was started:\n%s", log)
			}
			return comeback{way: wayOf(log), log: log}.expect(asIs)
		}),
		step("the server is stopped, and the primary is back in service", func(ctx context.Context) error {
			if err := stopForeign(ctx, primary); err != nil {
				return err
			}
			if err := c.Standby(ctx, primary, false); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, primary)
			return err
		}),
		step("the standby follows it by itself, in sync", func(ctx context.Context) error { return c.AwaitStandby(ctx, standby) }),
		step("nothing has failed", c.AwaitCalm),
	}})
}

// startForeign makes a server that lets the standby's requests in.
func startForeign(ctx context.Context, h *lab.Host) error {
	programs := cluster.Programs(h)
	for _, argv := range [][]string{
		{"rm", "-rf", foreignData},
		{"runuser", "-u", "postgres", "--", programs + "/initdb", "--no-sync", "--auth=trust", foreignData},
	} {
		if _, err := h.Run(ctx, argv...); err != nil {
			return err
		}
	}
	const hba = "host all all all trust\nhost replication all all trust\n"
	if _, err := h.RunInput(ctx, hba, "tee", "--append", foreignData+"/pg_hba.conf"); err != nil {
		return err
	}
	if _, err := h.Run(ctx, "systemd-run", "--quiet", "--collect", "--unit="+foreignUnit, "--uid=postgres", "--property=KillSignal=SIGINT",
		programs+"/postgres", "-D", foreignData, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/run/postgresql",
		"-c", "log_connections=on"); err != nil {
		return err
	}
	return cluster.Await(ctx, "the foreign server", func(ctx context.Context) error {
		_, err := cluster.SQL(ctx, h, "create role replicator superuser login replication")
		return err
	})
}

func stopForeign(ctx context.Context, h *lab.Host) error {
	if _, err := h.Run(ctx, "systemctl", "stop", foreignUnit); err != nil {
		return err
	}
	_, err := h.Run(ctx, "rm", "-rf", foreignData)
	return err
}

// awaitConnections returns when the standby has asked the foreign server that often.
func awaitConnections(ctx context.Context, h *lab.Host, want int) error {
	return cluster.Await(ctx, "the standby's questions", func(ctx context.Context) error {
		log, err := h.Run(ctx, "journalctl", "--no-pager", "--output=cat", "--unit="+foreignUnit)
		if err != nil {
			return err
		}
		if n := strings.Count(log, "replication connection authorized: user=replicator"); n < want {
			return fmt.Errorf("there were %d", n)
		}
		return nil
	})
}
