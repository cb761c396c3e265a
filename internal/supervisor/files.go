package supervisor

import (
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// guardPrimary lets standby.signal stand in the data directory again once the promotion has taken
// effect. The loop does not wait for the disk: the virtual address is on its way.
func (s *Supervisor) guardPrimary() {
	s.background.Go(func() {
		if err := pg.GuardPrimary(s.Instance.PGData); err != nil {
			s.Log.Warn("PostgreSQL started outside of pgtwin would take writes: cannot put standby.signal back", "error", err)
		}
	})
}

// lookAtFiles looks after what stands in the data directory.
func (h house) lookAtFiles(found *survey) {
	if h.writes {
		// Also where somebody else promoted, or removed the file.
		if err := pg.GuardPrimary(h.instance.PGData); err != nil {
			h.log.Warn("PostgreSQL started outside of pgtwin would take writes: cannot put standby.signal back", "error", err)
		}
	}
	uid, gid, err := pg.Owner(h.instance.PGData)
	if err != nil {
		h.log.Warn("cannot look after the files of the data directory", "error", err)
		return
	}
	found.advice = append(found.advice, instance.FileAdvice(h.instance, uid, gid)...)
	if advice := instance.TLSAdvice(h.instance, h.tlsCopies); advice != "" {
		found.advice = append(found.advice, advice)
	}
}
