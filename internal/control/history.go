package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"pgtwin/internal/ha"
)

// EventKind is a kind of entry in a host's history.
type EventKind string

// The kinds.
const (
	EventPromotion EventKind = "promotion" // of Node, this host or another
	EventRejoin    EventKind = "rejoin"    // this host has become a running standby
	EventLost      EventKind = "lost"      // commits of this host are not in the history of Node
	EventCrash     EventKind = "crash"     // of PostgreSQL on this host
)

// Event is an entry in the history of an instance on this host. As JSON it is
// an interface, like the report of pgtwin status.
type Event struct {
	At       time.Time   `json:"at"`
	Kind     EventKind   `json:"event"`
	Node     string      `json:"node,omitempty"`
	Epoch    int         `json:"epoch,omitempty"`
	Timeline ha.Timeline `json:"timeline,omitempty"`
	LSN      ha.LSN      `json:"lsn,omitzero"`
	Course   ha.Course   `json:"course,omitempty"` // rejoin: start, rewind, clone or initdb
	Why      string      `json:"why,omitempty"`
	Seconds  float64     `json:"seconds,omitempty"` // rejoin: how long it took
	Loss     *Loss       `json:"loss,omitempty"`
}

// keptEvents bounds a history.
const keptEvents = 500

// Note adds an event to the history at path. One of the same kind and time
// takes the place of the one before.
func Note(path string, e Event) error {
	if err := note(path, e); err != nil {
		return fmt.Errorf("cannot note in %s: %w", path, err)
	}
	return nil
}

func note(path string, e Event) error {
	// The activation and the supervisor both write.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	events, err := ReadHistory(path)
	if err != nil {
		return err
	}
	events = slices.DeleteFunc(events, func(o Event) bool { return o.Kind == e.Kind && o.At.Equal(e.At) })
	events = append(events, e)
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	events = events[max(0, len(events)-keptEvents):]
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, e := range events {
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	return replace(path, text.Bytes())
}

// replace is for what has to outlive a loss of power.
func replace(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, errWrite := temp.Write(text)
	err = errors.Join(errWrite, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

// ReadHistory reads a history, oldest event first; a missing one is empty.
// Lines that cannot be read are left out.
func ReadHistory(path string) ([]Event, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var events []Event
	for line := range bytes.Lines(text) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Kind != "" {
			events = append(events, e)
		}
	}
	return events, nil
}
