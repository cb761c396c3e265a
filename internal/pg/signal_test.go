package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The host of a primary is fenced, and its distribution, or an administrator, starts PostgreSQL there with
// the administrator's own configuration.
func TestAPrimaryThatIsStartedOutsideOfPgtwinIsReadOnly(t *testing.T) {
	a := newServer(t, "a", template)
	must(t, SetStandbySignal(a.data))
	ca := a.start()
	must(t, ca.Promote(t.Context()))
	if has, err := HasStandbySignal(a.data); has || err != nil {
		t.Fatalf("PostgreSQL leaves standby.signal now: %v", err)
	}
	must(t, GuardPrimary(a.data))
	ca.must(t, "CREATE TABLE public.x (i int)")
	a.crash()
	must(t, os.Remove(filepath.Join(a.data, "postmaster.pid")))
	cmd := program(context.Background(), []string{"postgres", "-D", a.data, "-p", fmt.Sprint(a.settings.Port), "-c", "unix_socket_directories=" + a.dir, "-c", "listen_addresses="})
	must(t, cmd.Start())
	ended := make(chan struct{})
	a.process, a.ended = cmd.Process, ended
	go func() { cmd.Wait(); close(ended) }()
	eventually(t, "an answer", func() error {
		out, err := program(t.Context(), []string{"psql", "-h", a.dir, "-p", fmt.Sprint(a.settings.Port), "-U", "postgres", "-XAtc", "SELECT pg_is_in_recovery()"}).CombinedOutput()
		if err != nil {
			return errors.Join(err, errors.New(string(out)))
		}
		if string(out) != "t\n" {
			t.Errorf("a second primary that takes writes: %s", out)
		}
		return nil
	})
}

func TestASignalFileSaysForWhomItWasWritten(t *testing.T) {
	dir := t.TempDir()
	meant := func(want bool) {
		t.Helper()
		if standby, err := MeantStandby(dir); standby != want || err != nil {
			t.Errorf("a standby's: %t, %v", standby, err)
		}
	}
	meant(false)
	must(t, GuardPrimary(dir))
	meant(false)
	must(t, SetStandbySignal(dir))
	meant(true)
	must(t, GuardPrimary(dir))
	meant(false)
	must(t, os.WriteFile(filepath.Join(dir, standbySignal), []byte("an administrator's"), 0o600))
	meant(true)
	must(t, TakeStandbySignal(dir))
	meant(false)
	must(t, TakeStandbySignal(dir))
}
