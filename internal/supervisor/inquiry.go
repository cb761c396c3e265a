package supervisor

import (
	"context"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// inquiry is what a standby has asked the recorded primary, in the background:
// the loop waits for no other host.
type inquiry struct {
	node    string
	at      time.Time
	primary *ha.Upstream // nil: it does not answer as a primary
	err     error        // why not
}

// inquire asks the primary, unless that is going on or was done so lately.
func (s *Supervisor) inquire(every time.Duration) {
	node := s.view.Epoch.Node
	if s.inquiring || s.inquiry.node == node && time.Since(s.inquiry.at) < every {
		return
	}
	s.inquiring = true
	target := instance.Upstream(s.Instance, s.credential, node)
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.life, lookTimeout)
		defer cancel()
		answer := inquiry{node: node, at: time.Now()}
		primary, err := pg.AskPrimary(ctx, target)
		if answer.err = err; err == nil {
			answer.primary = &primary
		}
		select {
		case s.inquiries <- answer:
		case <-s.life.Done():
		}
	})
}

// answered is the recorded primary's answer, nil where there is none of the
// last while.
func (s *Supervisor) answered(lately time.Duration) *ha.Upstream {
	if s.inquiry.node != s.view.Epoch.Node || time.Since(s.inquiry.at) > lately {
		return nil
	}
	return s.inquiry.primary
}
