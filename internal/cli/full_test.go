package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
)

// The supervisor cannot say it in its status file, for which there is no room.
func TestStatusSaysThatRunIsFull(t *testing.T) {
	name := fmt.Sprintf("fulltest-%d", os.Getpid())
	run, state := config.RunDir(name), config.StateDir(name)
	must(t, errors.Join(os.MkdirAll(run, 0o755), os.MkdirAll(state, 0o755)))
	t.Cleanup(func() { must(t, errors.Join(os.Remove(run), os.Remove(state))) })
	must(t, unix.Mount("tmpfs", run, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() { must(t, unix.Unmount(run, 0)) })
	first := func() string {
		f := gather(t.Context(), name)
		return newReport(f).Warnings[0]
	}
	if text := first(); strings.Contains(text, "is full") {
		t.Errorf("with room: %s", text)
	}
	err := os.WriteFile(filepath.Join(run, "much"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if text := first(); !strings.HasPrefix(text, "the file system of "+run+" is full (256 kB): ") {
		t.Errorf("without room: %s", text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
