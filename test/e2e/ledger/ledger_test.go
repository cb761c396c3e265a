package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// at is a time in milliseconds after the start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func times(ms ...int) []time.Time {
	var all []time.Time
	for _, m := range ms {
		all = append(all, at(m))
	}
	return all
}

func TestLongest(t *testing.T) {
	tests := []struct {
		name     string
		acks     []time.Time
		from, to int
		want     [2]int // from, to
	}{
		{"between two acknowledgements", times(0, 10, 500, 510, 520), 0, 520, [2]int{10, 500}},
		{"the first of two equal ones", times(0, 100, 200), 0, 200, [2]int{0, 100}},
		{"open at the end", times(0, 10, 20), 0, 900, [2]int{20, 900}},
		{"begun before the window", times(0, 10, 800, 810), 400, 810, [2]int{10, 800}},
		{"reaching beyond the window", times(0, 10, 800), 0, 400, [2]int{10, 400}},
		{"outside the window", times(0, 500, 510, 520, 1500), 510, 520, [2]int{510, 520}},
		{"never an acknowledgement", nil, 100, 300, [2]int{100, 300}},
		{"none before the window", times(250), 100, 300, [2]int{100, 250}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Longest(tt.acks, at(tt.from), at(tt.to))
			if want := (Gap{at(tt.want[0]), at(tt.want[1])}); got != want {
				t.Errorf("got %s to %s, want %s to %s", got.From, got.To, want.From, want.To)
			}
		})
	}
}

func TestSettle(t *testing.T) {
	notes := []Note{
		{1, Acknowledged, at(0)}, {2, Unsure, at(1)}, {3, Unsure, at(2)}, {4, Refused, at(3)}, {5, Acknowledged, at(4)},
	}
	tests := []struct {
		name    string
		rows    []int64
		lost    []int64
		doubled []int64
		strange []int64
	}{
		{"everything that was acknowledged is there", []int64{1, 5}, nil, nil, nil},
		{"what is unsure may be there", []int64{1, 2, 5}, nil, nil, nil},
		{"an acknowledged row is missing", []int64{1, 2}, []int64{5}, nil, nil},
		{"all is missing", nil, []int64{1, 5}, nil, nil},
		{"a row is there twice", []int64{1, 5, 5}, nil, []int64{5}, nil},
		{"a refused row is there", []int64{1, 4, 5}, nil, nil, []int64{4}},
		{"a row is there that nobody sent", []int64{1, 5, 99}, nil, nil, []int64{99}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Settle(notes, tt.rows)
			if a.Acknowledged != 2 || a.Unsure != 2 {
				t.Errorf("%d acknowledged, %d unsure", a.Acknowledged, a.Unsure)
			}
			if !slices.Equal(a.Lost, tt.lost) || !slices.Equal(a.Doubled, tt.doubled) || !slices.Equal(a.Strange, tt.strange) {
				t.Errorf("lost %v, doubled %v, strange %v", a.Lost, a.Doubled, a.Strange)
			}
			if good := tt.lost == nil && tt.doubled == nil && tt.strange == nil; good != (a.Err() == nil) {
				t.Errorf("the account says %v", a.Err())
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	reign := func(host string, sent1, received1, sent2, received2 int) Reign {
		return Reign{host, Sample{at(sent1), at(received1)}, Sample{at(sent2), at(received2)}}
	}
	tests := []struct {
		name string
		a, b Reign
		want bool
	}{
		{"one after the other", reign("h1", 0, 5, 100, 105), reign("h2", 200, 205, 300, 305), false},
		{"the last answer of one comes after the first question of the other", reign("h1", 0, 5, 100, 150), reign("h2", 120, 160, 300, 305), false},
		{"they meet, nobody knows in which order", reign("h1", 0, 5, 100, 150), reign("h2", 90, 101, 300, 305), false},
		{"one has begun before the other ended", reign("h1", 0, 5, 100, 105), reign("h2", 20, 25, 300, 305), true},
		{"one within the other", reign("h1", 0, 5, 1000, 1005), reign("h2", 200, 205, 300, 305), true},
		{"a single write within the other's reign", reign("h1", 0, 5, 1000, 1005), reign("h2", 200, 205, 200, 205), true},
		{"a single write that may have been later", reign("h1", 0, 5, 1000, 1005), reign("h2", 990, 1003, 990, 1003), false},
		{"two single writes prove nothing", reign("h1", 0, 50, 0, 50), reign("h2", 10, 20, 10, 20), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if Overlap(tt.a, tt.b) != tt.want || Overlap(tt.b, tt.a) != tt.want {
				t.Errorf("want %v both ways", tt.want)
			}
			if got := Overlaps([]Reign{tt.a, tt.b}); (got != nil) != tt.want {
				t.Errorf("the error is %v", got)
			}
		})
	}
	if err := Overlaps([]Reign{reign("h1", 0, 5, 100, 105), reign("h1", 20, 25, 300, 305)}); err != nil {
		t.Errorf("one host cannot overlap itself: %v", err)
	}
}

func TestOutcomeOf(t *testing.T) {
	server := func(severity string) error {
		return fmt.Errorf("cannot insert: %w", &pgconn.PgError{SeverityUnlocalized: severity})
	}
	tests := []struct {
		name   string
		err    error
		warned bool
		want   Outcome
	}{
		{"the server said yes", nil, false, Acknowledged},
		{"the server said yes, but did not wait for its standby", nil, true, Unsure},
		{"the server said no", server("ERROR"), false, Refused},
		{"the session was ended", server("FATAL"), false, Unsure},
		{"no answer in time", context.DeadlineExceeded, false, Unsure},
		{"the connection broke", errors.New("connection reset by peer"), false, Unsure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcomeOf(tt.err, tt.warned); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBook(t *testing.T) {
	book, err := OpenBook(filepath.Join(t.TempDir(), "book"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []Note{{1, Acknowledged, at(0)}, {2, Unsure, at(10)}, {3, Acknowledged, at(900)}} {
		if err := book.Enter(n); err != nil {
			t.Fatal(err)
		}
	}
	if got := book.Acknowledged(); got != 2 {
		t.Errorf("%d acknowledged, want 2", got)
	}
	if got := book.Longest(at(0), at(1000)).Length(); got != 900*time.Millisecond {
		t.Errorf("the longest gap is %s: an answer that did not arrive is no write", got)
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	if err := book.Enter(Note{4, Acknowledged, at(1001)}); err == nil || book.Acknowledged() != 2 {
		t.Errorf("what is not on disk must not count: %v", err)
	}
}
