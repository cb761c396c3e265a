package corpus

import (
	"context"
	"fmt"
	"net/rpc"
	"sync"

	"pgtwin/internal/cluster"
	"pgtwin/internal/ha"
)

// base is the cluster information base that all hosts see, with what attribute daemon and controller add.
type base struct {
	mu     sync.Mutex
	view   cluster.View
	spare  int // of which epoch view.Spare is
	failed map[string]bool
	wake   chan struct{} // something has changed
	said   func(format string, args ...any)
}

func newBase(nodes []string, said func(string, ...any)) *base {
	b := &base{view: cluster.View{Quorate: true, Fencing: true, Tracked: true, DC: nodes[0]}, failed: map[string]bool{},
		wake: make(chan struct{}, 1), said: said}
	for id, node := range nodes {
		b.view.Nodes = append(b.view.Nodes, ha.Membership{Node: node, ID: id + 1})
	}
	return b
}

// change does something to the base and wakes Pacemaker.
func (b *base) change(do func()) {
	b.mu.Lock()
	do()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *base) read() cluster.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.view
	v.Nodes = append([]ha.Membership(nil), b.view.Nodes...)
	if b.spare != v.Epoch.Number {
		v.Spare = 0
	}
	return v
}

func (b *base) node(name string) ha.Membership {
	for _, m := range b.read().Nodes {
		if m.Node == name {
			return m
		}
	}
	return ha.Membership{}
}

func (b *base) update(name string, do func(*ha.Membership)) {
	b.change(func() {
		for i := range b.view.Nodes {
			if b.view.Nodes[i].Node == name {
				do(&b.view.Nodes[i])
			}
		}
	})
}

// write does as cibadmin --modify: all or nothing, and nothing of a lower rank (cib_perform_op in cib_utils.c).
func (b *base) write(seen cluster.View, r cluster.Record) (err error) {
	b.change(func() {
		if r.Rank != 0 && r.Rank < b.view.Rank {
			err = fmt.Errorf("the record has rank %d, lower than %d", r.Rank, b.view.Rank)
			return
		}
		if r.Epoch != nil {
			b.view.Epoch = *r.Epoch
		}
		if r.Spare != nil {
			b.view.Spare, b.spare = *r.Spare, seen.Epoch.Number
		}
		b.view.Rank = max(b.view.Rank, r.Rank)
		for i, m := range b.view.Nodes {
			if epoch, written := r.InSync[m.Node]; written {
				b.view.Nodes[i].InSync = epoch
			}
		}
	})
	return err
}

// Cluster is the base as one host reaches it through Pacemaker's tools.
type Cluster struct {
	base *base
	node string
}

// Change is the argument of Cluster.Write.
type Change struct {
	Seen   cluster.View
	Record cluster.Record
}

// Score is the argument of Cluster.SetScore.
type Score struct {
	Node  string
	Score int
}

// Read is instance.Cluster's and supervisor.Cluster's.
func (c *Cluster) Read(_ int, view *cluster.View) error {
	*view = c.base.read()
	return nil
}

// Write is supervisor.Cluster's.
func (c *Cluster) Write(change Change, _ *int) error {
	c.base.said("%s records %+v", c.node, change.Record)
	return c.base.write(change.Seen, change.Record)
}

// Knows is supervisor.Cluster's: there is one copy of the base.
func (c *Cluster) Knows(epoch ha.Epoch, known *bool) error {
	*known = c.base.read().Epoch == epoch
	return nil
}

// SetScore is supervisor.Cluster's.
func (c *Cluster) SetScore(s Score, _ *int) error {
	c.base.said("%s gives %s the promotion score %d", c.node, s.Node, s.Score)
	c.base.update(s.Node, func(m *ha.Membership) { m.Score, m.Scored = s.Score, true })
	return nil
}

// Fail is supervisor.Cluster's.
func (c *Cluster) Fail(node string, _ *int) error {
	c.base.said("%s reports %s as failed", c.node, node)
	c.base.change(func() { c.base.failed[node] = true })
	return nil
}

// remote is the cluster inside a host.
type remote struct{ *rpc.Client }

func (r remote) call(ctx context.Context, method string, args, reply any) error {
	call := r.Go("Cluster."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r remote) Read(ctx context.Context) (cluster.View, error) {
	view := new(cluster.View)
	err := r.call(ctx, "Read", 0, view)
	if err != nil {
		return cluster.View{}, err
	}
	return *view, nil
}

func (r remote) Write(ctx context.Context, v cluster.View, record cluster.Record) error {
	return r.call(ctx, "Write", Change{v, record}, new(int))
}

func (r remote) Knows(ctx context.Context, _ string, epoch ha.Epoch) (bool, error) {
	known := new(bool)
	err := r.call(ctx, "Knows", epoch, known)
	return err == nil && *known, err
}

func (r remote) SetScore(ctx context.Context, node string, score int) error {
	return r.call(ctx, "SetScore", Score{node, score}, new(int))
}

func (r remote) SetAttribute(context.Context, string, string) error { return nil }

func (r remote) Fail(ctx context.Context, node string) error {
	return r.call(ctx, "Fail", node, new(int))
}
