package event

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// walLimit is more WAL than the hosts may keep for each other: wal_keep_size, 256 MB, and what a checkpoint leaves.
const walLimit = 2 << 30

// inspect looks, at the end of an event, for what no client would notice yet.
func inspect(ctx context.Context, c *cluster.Cluster, primary, standby *lab.Host) error {
	return errors.Join(
		timelinesUnique(ctx, primary, standby),
		sameRows(ctx, primary, standby),
		controlFile(ctx, primary, "in production"),
		controlFile(ctx, standby, "in archive recovery"),
		walBounded(ctx, primary), walBounded(ctx, standby),
		secretKept(ctx, c, primary), secretKept(ctx, c, standby),
	)
}

// timelinesUnique compares the history of every timeline that both hosts know: two promotions that took the same number have
// different ones.
func timelinesUnique(ctx context.Context, primary, standby *lab.Host) error {
	const question = `select name || ': ' || replace(pg_read_file('pg_wal/' || name), E'\n', ' / ')
		from pg_ls_waldir() where name like '%.history' order by name`
	known := map[string]string{}
	for _, h := range []*lab.Host{primary, standby} {
		out, err := cluster.SQL(ctx, h, question)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if other, ok := known[name]; ok && other != text && !strings.Contains(other+text, "reserved") {
				return fmt.Errorf("%s is %q on one host and %q on the other", name, other, text)
			}
			known[name] = text
		}
	}
	return nil
}

// sameRows compares the contents of the ledger's tables.
func sameRows(ctx context.Context, primary, standby *lab.Host) error {
	var answers []string
	for _, h := range []*lab.Host{primary, standby} {
		out, err := cluster.SQLIn(ctx, h, cluster.Ledger, ledger.Fingerprint)
		if err != nil {
			return err
		}
		answers = append(answers, out)
	}
	if answers[0] != answers[1] {
		return fmt.Errorf("the rows on %s and %s differ: %s and %s", primary.Name(), standby.Name(), answers[0], answers[1])
	}
	return nil
}

func controlFile(ctx context.Context, h *lab.Host, want string) error {
	out, err := h.Run(ctx, cluster.Programs(h)+"/pg_controldata", cluster.DataDir)
	if err != nil {
		return err
	}
	if !strings.Contains(out, want) {
		return fmt.Errorf("the control file on %s does not say %q:\n%s", h.Name(), want, out)
	}
	return nil
}

func walBounded(ctx context.Context, h *lab.Host) error {
	out, err := cluster.SQL(ctx, h, "select sum(size) from pg_ls_waldir()")
	if err != nil {
		return err
	}
	if size, err := strconv.ParseInt(out, 10, 64); err != nil || size > walLimit {
		return fmt.Errorf("%s keeps %s bytes of WAL", h.Name(), out)
	}
	return nil
}

// secretKept looks for the passwords where others could read them.
func secretKept(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	var failed error
	for _, argv := range [][]string{
		{"journalctl", "--no-pager", "--output=cat"},
		{"cat", "/var/log/pacemaker/pacemaker.log"},
		{"cibadmin", "--query"},
		{"ps", "-e", "-ww", "-o", "args="},
	} {
		out, err := h.Run(ctx, argv...)
		failed = errors.Join(failed, err)
		for _, secret := range c.Secrets() {
			if strings.Contains(out, secret) {
				failed = errors.Join(failed, fmt.Errorf("a password is in the output of %s on %s", strings.Join(argv, " "), h.Name()))
			}
		}
	}
	return failed
}
