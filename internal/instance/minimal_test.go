package instance

import (
	"slices"
	"testing"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// PostgreSQL's single-user mode refuses standby.signal, which an interrupted start has left, and a configuration file
// that nobody has written yet.
func TestDataOfMinimalWALAreRecoveredInSingleUserMode(t *testing.T) {
	a, _, _ := activate(t, "wal_level = minimal\nmax_wal_senders = 0\n")
	data, r := a.Instance.PGData, &real{}
	a.runtime = r
	patchControl(t, data, 172, 0) // wal_level, and wal_log_hints behind it
	must(t, pg.SetStandbySignal(data))
	must(t, a.raiseLevel(t.Context(), ha.Arrival{}))
	c, err := pg.ReadControl(data)
	if err != nil || c.WALLevel == pg.WALMinimal || c.State != pg.ShutDown || !slices.Equal(r.ran, []string{"postgres"}) {
		t.Errorf("ran %q, wal_level %d, state %d, error %v", r.ran, c.WALLevel, c.State, err)
	}
}
