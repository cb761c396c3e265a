package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestForgetLeavesTheNewest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for hour := range 3 {
		write(t, filepath.Join(dir+markOf(noon.Add(time.Duration(hour)*time.Hour)), "f"), "x")
	}
	if err := Forget(dir, 1); err != nil {
		t.Fatal(err)
	}
	left, err := Kept(dir)
	if err != nil || len(left) != 1 || left[0] != dir+markOf(noon.Add(2*time.Hour)) {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestASecondActivationIsLockedOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	first.Close()
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again.Close()
}

func TestAMarkerLastsUntilItIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "unfinished")
	if _, marked, err := Marked(path); marked || err != nil {
		t.Fatalf("before: %t, %v", marked, err)
	}
	if err := Mark(path, "rewind"); err != nil {
		t.Fatal(err)
	}
	if work, marked, err := Marked(path); work != "rewind" || !marked || err != nil {
		t.Errorf("Marked = %q, %t, %v", work, marked, err)
	}
	for range 2 {
		if err := Unmark(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, marked, _ := Marked(path); marked {
		t.Error("still marked")
	}
}
