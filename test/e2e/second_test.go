//go:build lab

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/units"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// A second instance on the same hosts. Its names begin with those of the first, and the prefix of its slots is the same.
const (
	second         = cluster.Instance + "-2"
	secondResource = cluster.Resource + "-2"
	secondClone    = cluster.Clone + "-2"
	secondPort     = 5433
	secondRoot     = "/var/lib/pgsql/second"
	secondData     = secondRoot + "/data"
	secondPassFile = secondRoot + "/.pgpass"
)

const secondConfiguration = `primitive ` + secondResource + ` ocf:heartbeat:pgtwin \
	params pgdata="` + secondData + `" pgport=5433 container_mode="true" container_name="` + second + `" \
		container_image="` + cluster.Image + `" rep_mode="sync" node_list="h1 h2" pgpassfile="` + secondPassFile + `" slot_name="ha_slot" \
	op start timeout=120 interval=0 op stop timeout=120 interval=0 op promote timeout=120 interval=0 op demote timeout=120 interval=0 \
	op monitor interval=3s role=Promoted timeout=60 op monitor interval=10s role=Unpromoted timeout=60
clone ` + secondClone + ` ` + secondResource + ` \
	meta promotable=true promoted-max=1 promoted-node-max=1 clone-max=2 clone-node-max=1 notify=true interleave=true
`

// twoInstances runs a second database beside the first: neither takes anything of the other's, and the failover of one does not
// touch the other.
func twoInstances(s *scene) {
	s.tell(secondStarts(s.c)...)
	s.tell(step("ports, slots, records and passwords are each instance's own", func(ctx context.Context) error {
		return errors.Join(ownReplication(ctx, s.c), ownRecords(ctx, s.c), ownSecrets(ctx, s.c))
	}))
	writer := s.secondWriter()
	s.run(oneFailsOver(s.c, second, cluster.Instance, 2*time.Second))
	began := time.Now()
	s.run(oneFailsOver(s.c, cluster.Instance, second, 10*time.Second))
	gap := writer.Longest(began, time.Now()).Length()
	s.tell(
		step("meanwhile the second's clients have not noticed", func(context.Context) error {
			if gap > 2*time.Second {
				return fmt.Errorf("no writes for %.1f s", gap.Seconds())
			}
			return nil
		}),
		step("none of the second's acknowledged rows is lost", func(ctx context.Context) error { return s.settleSecond(ctx, writer) }),
	)
	s.tell(secondEnds(s.c)...)
}

func secondStarts(c *cluster.Cluster) []event.Step {
	return []event.Step{
		step("a second instance gets directories and a password of its own", func(ctx context.Context) error {
			secret := rand.Text()
			for _, h := range c.Hosts() {
				for _, dir := range []string{secondRoot, secondData} {
					if _, err := h.Run(ctx, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", dir); err != nil {
						return err
					}
				}
				text := fmt.Sprintf("*:*:replication:replicator:%s\n*:*:postgres:replicator:%[1]s\n", secret)
				if err := cluster.Write(ctx, h, secondPassFile, "postgres", 0o600, text); err != nil {
					return err
				}
			}
			return nil
		}),
		step("its configuration is loaded", func(ctx context.Context) error {
			const file = "/root/second.crm"
			h := c.Hosts()[0]
			if err := cluster.Write(ctx, h, file, "root", 0o600, secondConfiguration); err != nil {
				return err
			}
			_, err := h.Run(ctx, "crm", "configure", "load", "update", file)
			return err
		}),
		step("it has a primary and a standby in sync", func(ctx context.Context) error {
			_, _, err := awaitBothOf(ctx, c, second)
			return err
		}),
		step("the first has not noticed", c.AwaitCalm),
	}
}

func secondEnds(c *cluster.Cluster) []event.Step {
	return []event.Step{
		step("the second instance is stopped and removed", func(ctx context.Context) error {
			h := c.Hosts()[0]
			for _, argv := range [][]string{
				{"crm", "resource", "stop", secondClone},
				{"crm_resource", "--wait", "--timeout=60"},
				{"crm", "configure", "delete", secondClone, secondResource},
			} {
				if _, err := h.Run(ctx, argv...); err != nil {
					return err
				}
			}
			for _, name := range []string{"epoch", "insync-h1", "insync-h2"} {
				if _, err := h.Run(ctx, "crm_attribute", "--type=crm_config", "--delete", "--name=pgtwin-"+second+"-"+name); err != nil {
					return err
				}
			}
			for _, h := range c.Hosts() {
				if _, err := h.Run(ctx, "rm", "-rf", secondRoot, config.StateDir(second), config.RunDir(second)); err != nil {
					return err
				}
			}
			return nil
		}),
		step("the first has not noticed", c.AwaitCalm),
	}
}

// primaryOf is Cluster.Primary for any instance.
func primaryOf(c *cluster.Cluster, instance string) (*lab.Host, error) {
	for _, h := range c.Hosts() {
		if st, err := cluster.StatusOf(h, instance); err == nil && st.Role == ha.Primary {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no host is primary of %s", instance)
}

// awaitBothOf is Cluster.AwaitBoth for any instance, without a virtual address.
func awaitBothOf(ctx context.Context, c *cluster.Cluster, instance string) (primary, standby *lab.Host, err error) {
	err = cluster.Await(ctx, "a primary and a standby of "+instance, func(context.Context) (err error) {
		if primary, err = primaryOf(c, instance); err != nil {
			return err
		}
		standby = c.Other(primary)
		active, err := cluster.StatusOf(primary, instance)
		if err != nil {
			return err
		}
		other, err := cluster.StatusOf(standby, instance)
		if err != nil {
			return err
		}
		return cluster.Complete(other, active)
	})
	return primary, standby, err
}

// server is the postmaster of an instance, found by its unit: conmon's child.
func server(ctx context.Context, h *lab.Host, instance string) (int, error) {
	conmon, err := cluster.MainPID(ctx, h, units.Database(instance))
	if err != nil {
		return 0, err
	}
	out, err := h.Run(ctx, "pgrep", "--parent", strconv.Itoa(conmon), "--exact", "postgres")
	if err != nil {
		return 0, fmt.Errorf("%s has no server on %s: %w", instance, h.Name(), err)
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// servers are the postmasters of an instance on all hosts, in words.
func servers(ctx context.Context, c *cluster.Cluster, instance string) (string, error) {
	var all []string
	for _, h := range c.Hosts() {
		pid, err := server(ctx, h, instance)
		if err != nil {
			return "", err
		}
		st, err := cluster.StatusOf(h, instance)
		if err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf("%s is process %d on %s, %s", instance, pid, h.Name(), st.Role))
	}
	return strings.Join(all, "; "), nil
}

// oneFailsOver kills the primary of one instance. The servers of the other stay the same processes in the same roles.
func oneFailsOver(c *cluster.Cluster, failing, other string, limit time.Duration) event.Event {
	var hit *lab.Host
	var before string
	return event.Event{Name: failing + " fails over", Limit: limit, Steps: []event.Step{
		step("the postmaster of "+failing+"'s primary is killed", func(ctx context.Context) (err error) {
			if before, err = servers(ctx, c, other); err != nil {
				return err
			}
			if hit, err = primaryOf(c, failing); err != nil {
				return err
			}
			pid, err := server(ctx, hit, failing)
			if err != nil {
				return err
			}
			return cluster.Kill(ctx, hit, pid)
		}),
		step("its other host takes over, and the old primary is back in sync", func(ctx context.Context) error {
			return cluster.Await(ctx, "the takeover", func(ctx context.Context) error {
				primary, err := primaryOf(c, failing)
				if err == nil && primary.Name() == hit.Name() {
					err = fmt.Errorf("%s is primary", hit.Name())
				}
				if err != nil {
					return err
				}
				_, _, err = awaitBothOf(ctx, c, failing)
				return err
			})
		}),
		step("the servers of "+other+" are the same, in the same roles", func(ctx context.Context) error {
			after, err := servers(ctx, c, other)
			return errors.Join(err, expect("what runs", after, before))
		}),
		step("nothing is left to repair", c.AwaitCalm),
	}}
}

// ownReplication asks each standby whom it follows, and how.
func ownReplication(ctx context.Context, c *cluster.Cluster) error {
	const question = `select sender_port || ' ' || slot_name || ' ' || substring(conninfo from 'passfile=([^ ]*)') from pg_stat_wal_receiver`
	var failed error
	for instance, port := range map[string]int{cluster.Instance: 5432, second: secondPort} {
		primary, err := primaryOf(c, instance)
		if err != nil {
			return err
		}
		standby := c.Other(primary)
		got, err := cluster.SQLAt(ctx, standby, port, question)
		want := fmt.Sprintf("%d ha_slot_%s %s", port, standby.Name(), config.PassFileCopy(instance))
		failed = errors.Join(failed, err, expect("what "+instance+" follows on "+standby.Name(), got, want))
		slots, err := cluster.SQLAt(ctx, primary, port, "select string_agg(slot_name, ' ') from pg_replication_slots where active")
		failed = errors.Join(failed, err, expect("the active slots of "+instance, slots, "ha_slot_"+standby.Name()))
	}
	return failed
}

// ownRecords compares the recorded epochs with the databases: two instances that shared a record would share its system
// identifier.
func ownRecords(ctx context.Context, c *cluster.Cluster) error {
	var failed error
	for instance, port := range map[string]int{cluster.Instance: 5432, second: secondPort} {
		system, err := cluster.SQLAt(ctx, c.Hosts()[0], port, "select system_identifier from pg_control_system()")
		if err != nil {
			return err
		}
		for _, h := range c.Hosts() {
			st, err := cluster.StatusOf(h, instance)
			if err != nil {
				return err
			}
			if st.Epoch == nil {
				return fmt.Errorf("%s has no epoch on %s", instance, h.Name())
			}
			failed = errors.Join(failed, expect("the system of "+instance+"'s epoch on "+h.Name(), st.Epoch.System, system))
		}
	}
	return failed
}

// ownSecrets checks that each instance works with the password that is its own.
func ownSecrets(ctx context.Context, c *cluster.Cluster) error {
	var failed error
	for _, h := range c.Hosts() {
		for instance, original := range map[string]string{cluster.Instance: cluster.PassFile, second: secondPassFile} {
			given, err := h.ReadFile(original)
			if err != nil {
				return err
			}
			used, err := h.ReadFile(config.PassFileCopy(instance))
			if err != nil {
				return err
			}
			if secretOf(given) == "" || secretOf(given) != secretOf(used) {
				failed = errors.Join(failed, fmt.Errorf("the password that %s uses on %s is not that of %s", instance, h.Name(), original))
			}
		}
	}
	return failed
}

// secretOf is the password of a passfile's first line.
func secretOf(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return line[strings.LastIndex(line, ":")+1:]
}

// secondWriter lets a client write to the second instance, which knows both hosts.
func (s *scene) secondWriter() *ledger.Writer {
	s.Helper()
	login := s.c.DirectClient("second")
	login.Port, login.Database = secondPort, "postgres"
	s.tell(step("a client is let into the second, too", func(ctx context.Context) error {
		primary, err := primaryOf(s.c, second)
		if err != nil {
			return err
		}
		for _, h := range s.c.Hosts() {
			if _, err := h.RunInput(ctx, "host all ledger all scram-sha-256\n", "tee", "--append", secondData+"/pg_hba.conf"); err != nil {
				return err
			}
			if _, err := cluster.SQLAt(ctx, h, secondPort, "select pg_reload_conf()"); err != nil {
				return err
			}
		}
		role := fmt.Sprintf("create role %s login password '%s';", login.User, login.Password) // both are letters and digits
		_, err = cluster.SQLAt(ctx, primary, secondPort, role+ledger.Schema)
		return err
	}))
	dir, err := os.MkdirTemp("", "pgtwin-ledger-")
	if err != nil {
		s.Fatal(err)
	}
	writer, err := ledger.Start(s.Context(), login, dir)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return writer
}

// settleSecond ends the second's client and counts its rows on both hosts.
func (s *scene) settleSecond(ctx context.Context, writer *ledger.Writer) error {
	if err := writer.Stop(); err != nil {
		return err
	}
	primary, standby, err := awaitBothOf(ctx, s.c, second)
	if err != nil {
		return err
	}
	end, err := cluster.SQLAt(ctx, primary, secondPort, "select pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	err = cluster.Await(ctx, "the second standby to replay "+end, func(ctx context.Context) error {
		done, err := cluster.SQLAt(ctx, standby, secondPort, fmt.Sprintf("select pg_last_wal_replay_lsn() >= '%s'", end))
		if err == nil && done != "t" {
			err = errors.New("it is behind")
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range s.c.Hosts() {
		rows, err := writer.Rows(ctx, h.Addr())
		if err != nil {
			return err
		}
		account := ledger.Settle(writer.Notes(), rows)
		if account.Acknowledged == 0 {
			return errors.New("the second's client had nothing acknowledged")
		}
		if err := account.Err(); err != nil {
			return fmt.Errorf("rows of the second on %s: %w", h.Name(), err)
		}
	}
	return nil
}
