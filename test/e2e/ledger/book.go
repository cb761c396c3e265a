// Package ledger keeps the accounts of a database that is being tested: clients commit numbered rows and
// note what the server acknowledged, and afterwards the rows are counted. It knows PostgreSQL as an
// application does, by its address, and neither Pacemaker nor pgtwin.
package ledger

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// Outcome is what a client knows of one of its commits.
type Outcome string

// The outcomes.
const (
	Acknowledged Outcome = "acknowledged" // the server said so: the row must be there for ever
	Refused      Outcome = "refused"      // the server said no, or was never asked: the row must not be there
	Unsure       Outcome = "unsure"       // the answer did not arrive: both are right
)

// Note is one commit as its client saw it.
type Note struct {
	Number  int64
	Outcome Outcome
	At      time.Time // when the answer was there, or given up
}

// Book is where a client notes its commits: in a file, each after its answer, and in memory. All methods may
// be called at any time, from any goroutine.
type Book struct {
	file *os.File

	mu    sync.Mutex
	notes []Note
	acks  []time.Time
}

// OpenBook starts an empty book at path.
func OpenBook(path string) (*Book, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the book: %w", err)
	}
	return &Book{file: f}, nil
}

// Close closes the file; what was noted can still be asked for.
func (b *Book) Close() error { return b.file.Close() }

// Enter notes a commit.
func (b *Book) Enter(n Note) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := fmt.Fprintf(b.file, "%d %s %s\n", n.Number, n.Outcome, n.At.Format(time.RFC3339Nano)); err != nil {
		return fmt.Errorf("cannot note commit %d: %w", n.Number, err)
	}
	b.notes = append(b.notes, n)
	if n.Outcome == Acknowledged {
		b.acks = append(b.acks, n.At)
	}
	return nil
}

// sync puts on disk what was noted so far.
func (b *Book) sync() error { return b.file.Sync() }

// Notes returns every note so far, in order.
func (b *Book) Notes() []Note {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.notes[:len(b.notes):len(b.notes)]
}

// Acknowledged counts the acknowledgements so far.
func (b *Book) Acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acks)
}

// Longest returns the longest time without an acknowledged write between from and to.
func (b *Book) Longest(from, to time.Time) Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Longest(b.acks, from, to)
}
