package instance

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
)

// The reason is in the journal alone: the progress file is on the file system that is full.
func TestAnActivationNamesTheFileSystemThatIsFull(t *testing.T) {
	name := newName(t)
	run := config.RunDir(name)
	must(t, unix.Mount("tmpfs", run, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() { must(t, unix.Unmount(run, 0)) })
	boot, err := BootID()
	must(t, err)
	must(t, control.WriteJSON(config.Ticket(name), control.Ticket{BootID: boot, Intent: control.IntentRun}, 0o600))
	if err := os.WriteFile(filepath.Join(run, "much"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	a := New(config.Instance{Name: name, Node: "h1"}, nil, slog.New(slog.DiscardHandler))
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), ": the file system of "+run+" is full: delete what is not needed there") {
		t.Errorf("error %v", err)
	}
}
