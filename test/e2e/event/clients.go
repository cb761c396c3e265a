package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// clients are the two applications that write during an event.
type clients struct {
	virtual *ledger.Writer // knows the virtual address only
	direct  *ledger.Writer // knows both hosts
}

func startClients(ctx context.Context, c *cluster.Cluster, dir string) (*clients, error) {
	virtual, err := ledger.Start(ctx, c.Client("virtual"), dir)
	if err != nil {
		return nil, err
	}
	direct, err := ledger.Start(ctx, c.DirectClient("direct"), dir)
	if err != nil {
		return nil, errors.Join(err, virtual.Stop())
	}
	return &clients{virtual, direct}, nil
}

func (w *clients) stop() error { return errors.Join(w.virtual.Stop(), w.direct.Stop()) }

// books are the clients by how they connect.
func (w *clients) books() map[string]*ledger.Writer {
	return map[string]*ledger.Writer{"through the virtual address": w.virtual, "by direct connections": w.direct}
}

// awaitWrites returns when each client has had n more writes acknowledged.
func (w *clients) awaitWrites(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	virtual, direct := w.virtual.Acknowledged()+n, w.direct.Acknowledged()+n
	return cluster.Await(ctx, "writes", func(context.Context) error {
		if v, d := w.virtual.Acknowledged(), w.direct.Acknowledged(); v < virtual || d < direct {
			return fmt.Errorf("%d more through the virtual address and %d by direct connections", max(0, virtual-v), max(0, direct-d))
		}
		return nil
	})
}

// report tells the observer every second how the clients fare, until the returned function is called.
func (w *clients) report(o Observer) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		virtual, direct := w.virtual.Acknowledged(), w.direct.Acknowledged()
		for {
			select {
			case <-end:
				return
			case now := <-tick.C:
				v, d := w.virtual.Acknowledged(), w.direct.Acknowledged()
				o.Progress(Progress{now.Sub(began), v - virtual, d - direct})
				virtual, direct = v, d
			}
		}
	}()
	return func() { close(end); <-ended }
}

// settle counts both clients' rows on both hosts: the primary has to have them, and the standby that may be the next one.
func (w *clients) settle(ctx context.Context, c *cluster.Cluster, r *Result) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	for _, writer := range []*ledger.Writer{w.virtual, w.direct} {
		r.Acknowledged += writer.Acknowledged()
	}
	r.Counted = false
	primary, standby, err := c.AwaitBoth(ctx)
	if err != nil {
		return fmt.Errorf("cannot count the rows: %w", err)
	}
	if err := c.AwaitReplayed(ctx, primary, standby); err != nil {
		return fmt.Errorf("cannot count the rows: %w", err)
	}
	var failed error
	for _, writer := range []*ledger.Writer{w.virtual, w.direct} {
		lost := 0
		for _, h := range []*lab.Host{primary, standby} {
			rows, err := writer.Rows(ctx, h.Addr())
			if err != nil {
				return err
			}
			account := ledger.Settle(writer.Notes(), rows)
			if err := account.Err(); err != nil {
				failed = errors.Join(failed, fmt.Errorf("rows on %s: %w", h.Name(), err))
			}
			lost = max(lost, len(account.Lost))
		}
		r.Lost += lost
	}
	r.Counted = true
	return errors.Join(failed, inspect(ctx, c, primary, standby))
}
