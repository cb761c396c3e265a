//go:build lab

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failures is what failed so far, in short. `make e2e` shows it last: of a long output the end is what is seen.
var failures = filepath.Join("evidence", "failures.txt")

// noteLimit is how much of a message is noted: what it is about is at its beginning.
const noteLimit = 600

// note adds a failure to the list.
func note(t *testing.T, message string) {
	t.Helper()
	if len(message) > noteLimit {
		message = message[:noteLimit] + " ..."
	}
	list(t, t.Name()+": "+message)
}

// list adds what belongs to a failure.
func list(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	if err := os.MkdirAll(filepath.Dir(failures), 0o755); err != nil {
		t.Log(err)
		return
	}
	f, err := os.OpenFile(failures, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Log(err)
		return
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, text); err != nil {
		t.Log(err)
	}
}

// Fatal, Fatalf, Error and Errorf are those of the test, and note the failure.
func (s *scene) Fatal(args ...any) {
	s.Helper()
	s.note(fmt.Sprint(args...))
	s.T.Fatal(args...)
}

// Fatalf is Fatal with a format.
func (s *scene) Fatalf(format string, args ...any) {
	s.Helper()
	s.Fatal(fmt.Sprintf(format, args...))
}

// Error is Fatal without an end.
func (s *scene) Error(args ...any) {
	s.Helper()
	s.note(fmt.Sprint(args...))
	s.T.Error(args...)
}

// Errorf is Error with a format.
func (s *scene) Errorf(format string, args ...any) {
	s.Helper()
	s.Error(fmt.Sprintf(format, args...))
}

func (s *scene) note(message string) {
	s.Helper()
	s.noted = true
	note(s.T, message)
}
