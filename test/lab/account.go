package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Line is one message of a host's journal.
type Line struct {
	At   time.Time
	Host string
	From string // the syslog identifier
	Text string
}

// Account returns what the hosts have logged since a moment, in the order of time. It reads the journals on
// their disks: a host need not run for it.
func (l *Lab) Account(ctx context.Context, since time.Time) ([]Line, error) {
	var all []Line
	for _, h := range l.hosts {
		lines, err := h.account(ctx, since)
		if err != nil {
			return nil, fmt.Errorf("cannot read the journal of %s: %w", h.name, err)
		}
		all = append(all, lines...)
	}
	slices.SortStableFunc(all, func(a, b Line) int { return a.At.Compare(b.At) })
	return all, nil
}

func (h *Host) account(ctx context.Context, since time.Time) ([]Line, error) {
	h.syncJournal(ctx)
	// systemd.time(7): seconds since the epoch
	cmd := h.journal(ctx, "json", fmt.Sprintf("--since=@%d", since.Unix()))
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var lines []Line
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var entry struct {
			At   int64           `json:"__REALTIME_TIMESTAMP,string"` // microseconds
			From string          `json:"SYSLOG_IDENTIFIER"`
			Text json.RawMessage `json:"MESSAGE"` // not a string where it is not text
		}
		if err := decoder.Decode(&entry); errors.Is(err, io.EOF) {
			return lines, nil
		} else if err != nil {
			return nil, err
		}
		line := Line{At: time.UnixMicro(entry.At), Host: h.name, From: entry.From}
		if json.Unmarshal(entry.Text, &line.Text) == nil && !line.At.Before(since) {
			lines = append(lines, line)
		}
	}
}
