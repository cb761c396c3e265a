package corpus

import (
	"context"
	"errors"
	"sync"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// pacemaker orders what Pacemaker would of a promotable clone: it keeps the host with the best score promoted,
// and recovers what is reported as failed.
type pacemaker struct {
	base   *base
	hosts  map[string]*machine
	params map[string]map[string]string // of the resource, as each host is to see them
	said   func(string, ...any)

	turn     sync.Mutex // one transition, or one order from outside
	mu       sync.Mutex
	managed  map[string]bool // started here
	promoted string
	refusals []string // of starts and promotions
	banned   string   // may not be promoted (crm resource ban)
	working  sync.WaitGroup
}

// run works until ctx ends.
func (p *pacemaker) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.step(ctx)
		select {
		case <-ctx.Done():
		case <-p.base.wake:
		case <-time.After(200 * time.Millisecond):
		}
	}
	p.working.Wait()
}

// step is one transition.
func (p *pacemaker) step(ctx context.Context) {
	p.turn.Lock()
	defer p.turn.Unlock()
	recovered := p.recover(ctx)
	best, now := p.best(), p.primary()
	if best != now && best != "" {
		if now != "" {
			p.demote(ctx, now)
		}
		p.promote(ctx, best)
	}
	for _, node := range recovered {
		p.working.Go(func() { p.start(ctx, node) })
	}
}

// recover stops what has failed; it is started again after the promotion elsewhere.
func (p *pacemaker) recover(ctx context.Context) (stopped []string) {
	for node := range p.hosts {
		failed := false
		p.base.change(func() { failed = p.base.failed[node]; delete(p.base.failed, node) })
		if !failed || !p.manages(node) {
			continue
		}
		if p.primary() == node {
			p.demote(ctx, node)
		}
		p.stop(ctx, node)
		stopped = append(stopped, node)
	}
	return stopped
}

// best is the host that is to be promoted: of equal scores the present primary keeps its place.
func (p *pacemaker) best() string {
	best, score := "", -1
	for _, m := range p.base.read().Nodes {
		if !p.manages(m.Node) || !m.Scored || m.Score < 0 || m.Node == p.ban() {
			continue
		}
		if m.Score > score || m.Score == score && m.Node == p.primary() {
			best, score = m.Node, m.Score
		}
	}
	return best
}

// start is the first order that a host gets; it fails for good (start-failure-is-fatal).
func (p *pacemaker) start(ctx context.Context, node string) error {
	p.base.update(node, func(m *ha.Membership) { m.Online = true })
	if err := p.hosts[node].order(ctx, "Start", p.params[node], new(int)); err != nil {
		p.refused(node + " does not start: " + err.Error())
		return err
	}
	p.set(func() { p.managed[node] = true })
	return nil
}

func (p *pacemaker) stop(ctx context.Context, node string) error {
	p.set(func() { p.managed[node] = false })
	if p.primary() == node {
		p.set(func() { p.promoted = "" })
	}
	p.base.update(node, func(m *ha.Membership) { m.Score, m.Scored = ha.Minus, true })
	err := p.hosts[node].order(ctx, "Stop", 0, new(int))
	p.base.change(func() { delete(p.base.failed, node) }) // recovered by this very stop
	return err
}

// restart is crm resource restart, while nothing else is ordered.
func (p *pacemaker) restart(ctx context.Context, node string) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	return errors.Join(p.stop(ctx, node), p.start(ctx, node))
}

func (p *pacemaker) demote(ctx context.Context, node string) {
	p.set(func() { p.promoted = "" })
	if err := p.hosts[node].order(ctx, "Demote", 0, new(int)); err != nil {
		p.refused(node + " is not demoted: " + err.Error())
	}
}

// promote lets the supervisor promote. Where it refuses, the instance is stopped and started.
func (p *pacemaker) promote(ctx context.Context, node string) {
	var answer control.Answer
	err := p.hosts[node].order(ctx, "Ask", control.Promote, &answer)
	switch {
	case err == nil && answer.Error == "":
		p.set(func() { p.promoted = node })
		return
	case err != nil:
		answer.Error = err.Error()
	}
	if ctx.Err() != nil {
		return
	}
	p.refused(node + " is not promoted: " + answer.Error)
	p.stop(ctx, node)
	p.start(ctx, node)
}

func (p *pacemaker) refused(what string) {
	p.said("%s", what)
	p.set(func() { p.refusals = append(p.refusals, what) })
}

func (p *pacemaker) refusedSoFar() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.refusals...)
}

func (p *pacemaker) set(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
}

func (p *pacemaker) manages(node string) (yes bool) {
	p.set(func() { yes = p.managed[node] })
	return yes
}

func (p *pacemaker) primary() (node string) {
	p.set(func() { node = p.promoted })
	return node
}

func (p *pacemaker) ban() (node string) {
	p.set(func() { node = p.banned })
	return node
}
