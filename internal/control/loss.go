package control

import (
	"fmt"
	"strings"
	"time"

	"pgtwin/internal/ha"
)

// Loss is what this host had beyond the point where the primary's history left
// its own, as its WAL says.
type Loss struct {
	Timeline     ha.Timeline `json:"timeline"`          // on which the histories part
	From         ha.LSN      `json:"from"`              // where they do
	To           ha.LSN      `json:"to,omitzero"`       // the end of what was read
	Bytes        int64       `json:"bytes"`             // in between
	Transactions int         `json:"transactions"`      // committed
	Prepared     int         `json:"prepared,omitzero"` // for a two-phase commit
	First        time.Time   `json:"first_commit,omitzero"`
	Last         time.Time   `json:"last_commit,omitzero"`
	// Complete says that the WAL was read from the fork to its end. Otherwise the
	// numbers are the least that was lost, and WAL is missing from Missing on.
	Complete  bool     `json:"complete"`
	Missing   ha.LSN   `json:"missing_from,omitzero"`
	Why       string   `json:"incomplete_because,omitempty"`
	Relations []string `json:"relations,omitempty"` // that were changed, the most changed first
	More      int      `json:"more_relations,omitempty"`
	Kept      string   `json:"kept_in,omitempty"` // directory with the WAL
	KeptBytes int64    `json:"kept_bytes,omitempty"`
	NotKept   string   `json:"not_kept_because,omitempty"`
}

// None says whether it is certain that no transaction was lost.
func (l Loss) None() bool { return l.Complete && l.Transactions == 0 && l.Prepared == 0 }

// Sentence says what was lost in comparison with the history of node.
func (l Loss) Sentence(node string) string {
	place := fmt.Sprintf("beyond %s on timeline %d, where %s left it", l.From, l.Timeline, node)
	if l.None() {
		return "no transaction is lost: there is none " + place
	}
	text := fmt.Sprintf("%s lost: %s of WAL %s", l.count(), size(l.Bytes), place)
	if !l.First.IsZero() {
		text += fmt.Sprintf("; committed from %s to %s", l.First.Format(time.DateTime), l.Last.Format(time.DateTime+" MST"))
	}
	if len(l.Relations) > 0 {
		text += "; they changed " + strings.Join(l.Relations, ", ")
		if l.More > 0 {
			text += fmt.Sprintf(" and %d more", l.More)
		}
	}
	if !l.Complete {
		text += "; there may be more: " + l.Why
	}
	return text + l.keeping()
}

func (l Loss) count() string {
	text := fmt.Sprintf("%d transactions are", l.Transactions)
	if l.Transactions == 1 {
		text = "1 transaction is"
	}
	if l.Prepared > 0 {
		text = fmt.Sprintf("%d transactions and %d prepared ones are", l.Transactions, l.Prepared)
	}
	if !l.Complete {
		text = "at least " + text
	}
	return text
}

func (l Loss) keeping() string {
	switch {
	case l.Kept != "" && l.NotKept != "":
		return fmt.Sprintf("; the first %s are kept in %s: %s", size(l.KeptBytes), l.Kept, l.NotKept)
	case l.Kept != "":
		return "; the WAL is kept in " + l.Kept
	case l.NotKept != "":
		return "; the WAL is not kept: " + l.NotKept
	}
	return ""
}

func size(bytes int64) string {
	switch {
	case bytes < 10<<10:
		return fmt.Sprintf("%d bytes", bytes)
	case bytes < 10<<20:
		return fmt.Sprintf("%d kB", bytes>>10)
	}
	return fmt.Sprintf("%d MB", bytes>>20)
}
