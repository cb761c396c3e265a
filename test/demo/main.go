// Command demo shows pgtwin at work, on two hosts that it boots on this machine: a database starts from nothing, its
// postmaster is killed, it is moved by order, its host loses power. Two clients write all the time, and at the end the rows
// are counted. The exit status is 0 only if everything went as it should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

func main() {
	keep := flag.Bool("keep", false, "leave the cluster up at the end, to look around")
	packages := flag.Bool("host-packages", false, "run PostgreSQL from the hosts' packages instead of in containers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the cleaning up, too
	err := perform(ctx, !*packages)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
	}
	if *keep {
		fmt.Print(lookAround)
	} else {
		err = errors.Join(err, leave(err))
	}
	if err != nil {
		os.Exit(1)
	}
}

const lookAround = `
The cluster is up. To look around:
  bin/lab exec h1 -- pgtwin status
  bin/lab exec h1 -- crm_mon -1
  bin/lab exec h1 -- journalctl -u pgtwin@postgres-ha -n 50
  bin/lab exec h1 -- bash
  bin/lab power-off h1; bin/lab boot h1
To end it:
  bin/lab down
`

// leave removes every trace of the hosts; of a failure, what explains it is kept.
func leave(failed error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if failed != nil && !errors.Is(failed, context.Canceled) {
		if err := keepEvidence(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
	}
	if err := lab.Clear(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return err
	}
	return nil
}

func keepEvidence(ctx context.Context) error {
	l, err := lab.Open()
	if err != nil {
		return nil // it failed before there was anything to tell
	}
	dir, err := os.MkdirTemp("", "pgtwin-demo-")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "demo: logs and state of the hosts are in %s\n", dir)
	return l.Collect(ctx, dir)
}

// perform tells the whole story.
func perform(ctx context.Context, containers bool) error {
	n := narrator{out: os.Stdout, began: time.Now()}
	temp, err := os.MkdirTemp("", "pgtwin-tree-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	tree, err := cluster.Tree(ctx, temp)
	if err != nil {
		return err
	}
	n.chapter("Two hosts boot: systemd, Corosync, Pacemaker, fencing, and pgtwin installed")
	c, err := cluster.Up(ctx, cluster.Options{Containers: containers, Notify: true, Tree: tree, Log: os.Stdout})
	if err != nil {
		return err
	}
	n.chapter("The database starts from nothing, with PostgreSQL from " + c.Mode())
	if err := event.Tell(ctx, event.ColdStart(c), &n); err != nil {
		return err
	}
	if err := n.show(ctx, c); err != nil {
		return err
	}
	return events(ctx, c, &n)
}

// events lets everything happen that can be survived, and shows what it cost.
func events(ctx context.Context, c *cluster.Cluster, n *narrator) error {
	var results []event.Result
	var failed error
	for _, e := range []event.Event{event.PostmasterKilled(c), event.Switchover(c), event.HostPoweredOff(c)} {
		n.chapter(fmt.Sprintf("%s, while two clients write", e.Name))
		result, err := event.Run(ctx, c, e, n)
		results = append(results, result)
		if failed = err; failed == nil {
			failed = n.show(ctx, c)
		}
		if failed != nil {
			break
		}
		if failed = settle(ctx, c); failed != nil {
			break
		}
	}
	n.chapter("What the clients saw")
	return errors.Join(failed, event.Table(os.Stdout, results))
}

// settle forgets the failed actions, as an administrator does after a look at them.
func settle(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return c.Settle(ctx)
}
