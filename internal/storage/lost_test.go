package storage

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	source := filepath.Join(dir, "pg_wal", "000000010000000000000001")
	if err := os.MkdirAll(filepath.Dir(source), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Left behind by an attempt that a loss of power interrupted.
	if err := os.MkdirAll(filepath.Join(beside(dir, "lost"), "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 24, 23, 55, 0, 0, time.UTC)
	var all []string
	for n := range 4 {
		write("before")
		kept, err := SetAside(t.Context(), dir, []string{source}, 4242, 4243, now.Add(time.Duration(n)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kept)
	}
	write("overwritten")
	last := all[3]
	if want := dir + ".lost-20261124T235503"; last != want {
		t.Errorf("kept in %s, want %s", last, want)
	}
	text, err := os.ReadFile(filepath.Join(last, filepath.Base(source)))
	if err != nil || string(text) != "before" {
		t.Errorf("%q, %v", text, err)
	}
	for _, path := range []string{last, filepath.Join(last, filepath.Base(source))} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 4242 || st.Gid != 4243 || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s belongs to %d:%d, mode %s", path, st.Uid, st.Gid, info.Mode())
		}
	}
	left, err := filepath.Glob(filepath.Dir(dir) + "/*data*lost*")
	if err != nil || !slices.Equal(left, all[1:]) {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestWhatCannotBeSetAsideLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, ctx := range map[string]context.Context{"no such file": t.Context(), "context canceled": ended} {
		if _, err := SetAside(ctx, dir, []string{filepath.Join(dir, "missing")}, 0, 0, time.Now()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
