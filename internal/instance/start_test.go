package instance

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"pgtwin/internal/config"
)

// A server that is ready but refuses our session counts as started. An attempt to connect that fails because systemd ordered
// a stop must not count as such a refusal: the activation would hand over a server that nobody stops.
func TestAStopWhileConnectingIsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	i := config.Instance{Name: newName(t), PGData: dir, SocketDir: dir, Port: 5999, User: "postgres"}
	pidFile := "1\n" + dir + "\n0\n5999\n" + dir + "\n*\n0 0\nready   \n"
	must(t, os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(pidFile), 0o600))
	a := New(i, nil, slog.New(slog.DiscardHandler))
	if err := a.answers(t.Context()); err != nil {
		t.Fatalf("a server that refuses our session: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := a.answers(stopped); err == nil {
		t.Error("the stop was taken for the answer of a server that refuses our session")
	}
}
