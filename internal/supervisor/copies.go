package supervisor

import (
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/storage"
)

// tendCopies looks which copies of the data were replaced and are kept. A
// standby that streams, in sync, does not need those beyond keep_replaced. To
// remove a large one takes long, and a disk can hang: the loop does not wait.
func (s *Supervisor) tendCopies() {
	if s.tending || time.Since(s.tendedAt) < housePeriod {
		return
	}
	s.tending, s.tendedAt = true, time.Now()
	dir, keep := s.Instance.PGData, s.Instance.KeepReplaced
	whole := s.seen.role == ha.Standby && s.seen.look.Receiver.Streaming() && s.self().InSync == s.view.Epoch.Number
	s.background.Go(func() {
		if whole {
			if err := storage.Forget(dir, keep); err != nil {
				s.Log.Warn("cannot clear away replaced data", "error", err)
			}
		}
		kept, err := storage.Kept(dir)
		if err != nil {
			s.Log.Warn("cannot list replaced data", "error", err)
		}
		select {
		case s.copies <- kept:
		case <-s.life.Done():
		}
	})
}
