package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/pg"
)

func TestAfterAPromotionTheSignalFileStandsAgain(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
	for has := false; !has; has, _ = pg.HasStandbySignal(s.Instance.PGData) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("there is no standby.signal after the promotion")
		}
	}
	stands := func(when string) {
		t.Helper()
		if has, err := pg.HasStandbySignal(s.Instance.PGData); !has || err != nil {
			t.Errorf("%s: there is no standby.signal: %v", when, err)
		}
	}
	stands("after the promotion")
	if standby, err := pg.MeantStandby(s.Instance.PGData); standby || err != nil {
		t.Errorf("it calls the data a standby's: %v", err)
	}
	// Somebody removes it, and leaves something.
	must(t, os.Remove(filepath.Join(s.Instance.PGData, "standby.signal")))
	must(t, os.WriteFile(filepath.Join(s.Instance.PGData, "patroni.dynamic.json"), nil, 0o600))
	h := house{instance: s.Instance, credential: s.credential, log: s.Log, writes: true}
	found := h.keep(ctx)
	stands("after the housekeeping")
	if !slices.ContainsFunc(found.advice, func(a string) bool { return strings.Contains(a, "belongs to Patroni") }) {
		t.Errorf("advice %q", found.advice)
	}
}

func TestTLSFilesThatAStartWouldRefuseAreTold(t *testing.T) {
	s, _ := startPrimary(t)
	said := func() string { s.keepHouseNow(t); return strings.Join(s.advice, "\n") }
	if strings.Contains(said(), "TLS") {
		t.Errorf("without TLS the status says %q", s.advice)
	}
	s.edit(t, "postgresql.conf", with("ssl = on"))
	if text := said(); !strings.Contains(text, "PostgreSQL would not start with its TLS files as they are now: ") || !strings.Contains(text, "server.crt does not exist") {
		t.Errorf("the status says %q", text)
	}
	must(t, control.WriteJSON(config.ProgressFile(s.Instance.Name), control.Progress{Phase: control.PhaseRunning, TLSCopies: true}, 0o644))
	if text := said(); !strings.Contains(text, "runs with copies of its TLS files from an earlier start") {
		t.Errorf("the status says %q", text)
	}
}
