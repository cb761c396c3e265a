package event

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// WriteReport summarises results by event and mode, as a table in Markdown.
func WriteReport(path string, results []Result) error {
	if err := os.WriteFile(path, report(results), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

const reportHead = `# What clients see of a failure

Two hosts, their clients and the watch for a second primary share the processors of one machine. The times are seconds
without an acknowledged write, minimum / median / maximum of the runs, for a client that knows only the virtual address and
for one that knows both hosts. Written by ` + "`make results`" + `.

| event | PostgreSQL from | runs | virtual address | both hosts | rows acknowledged | lost |
|---|---|---|---|---|---|---|
`

type reported struct{ event, mode string }

func report(results []Result) []byte {
	var b bytes.Buffer
	b.WriteString(reportHead)
	var order []reported
	runs := map[reported][]Result{}
	for _, r := range results {
		key := reported{r.Event, r.Mode}
		if runs[key] == nil {
			order = append(order, key)
		}
		runs[key] = append(runs[key], r)
	}
	for _, key := range order {
		var virtual, direct []time.Duration
		acknowledged, lost, counted := 0, 0, true
		for _, r := range runs[key] {
			virtual, direct = append(virtual, r.Virtual), append(direct, r.Direct)
			acknowledged += r.Acknowledged
			lost, counted = lost+r.Lost, counted && r.Counted
		}
		missing := strconv.Itoa(lost)
		if !counted {
			missing = "unknown"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %d | %s |\n", key.event, key.mode, len(virtual), spread(virtual), spread(direct), acknowledged, missing)
	}
	return b.Bytes()
}

// spread is minimum / median / maximum in seconds.
func spread(times []time.Duration) string {
	slices.Sort(times)
	return fmt.Sprintf("%.1f / %.1f / %.1f", times[0].Seconds(), times[len(times)/2].Seconds(), times[len(times)-1].Seconds())
}
