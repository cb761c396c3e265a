package event

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// Result is what an event cost.
type Result struct {
	Mode         string // containers or host packages
	Event        string
	Virtual      time.Duration // longest time without writes through the virtual address
	Direct       time.Duration // the same for a client that knows both hosts
	Acknowledged int           // rows
	Lost         int           // acknowledged rows that are missing on a host
	Counted      bool          // the rows could be counted: without it Lost says nothing
}

// within says whether the clients had to wait for longer than they may.
func (r Result) within(limit time.Duration) error {
	if max(r.Virtual, r.Direct) > limit {
		return fmt.Errorf("no writes for %.1f s through the virtual address, %.1f s by direct connections: at most %.1f s are acceptable",
			r.Virtual.Seconds(), r.Direct.Seconds(), limit.Seconds())
	}
	return nil
}

// Table prints results for people.
func Table(w io.Writer, results []Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "event\tPostgreSQL from\ts without writes: virtual IP\tboth hosts\trows acknowledged\tlost\t")
	for _, r := range results {
		lost := fmt.Sprint(r.Lost)
		if !r.Counted {
			lost = "unknown"
		}
		fmt.Fprintf(table, "%s\t%s\t%.2f\t%.2f\t%d\t%s\t\n",
			r.Event, r.Mode, r.Virtual.Seconds(), r.Direct.Seconds(), r.Acknowledged, lost)
	}
	return table.Flush()
}

// WriteJSON leaves results for programs, durations in nanoseconds, making the directories above path.
func WriteJSON(path string, results []Result) error {
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
