package event

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var results = []Result{
	{Mode: "containers", Event: "switchover", Virtual: 1234 * time.Millisecond, Direct: 800 * time.Millisecond, Acknowledged: 4711, Counted: true},
	{Mode: "host packages", Event: "host powered off and back", Virtual: 3 * time.Second, Acknowledged: 12, Lost: 3},
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, results); err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(b.String()) {
		var cells []string
		for cell := range strings.SplitSeq(strings.TrimSpace(line), "  ") {
			if cell = strings.TrimSpace(cell); cell != "" {
				cells = append(cells, cell)
			}
		}
		got = append(got, cells)
	}
	want := [][]string{
		{"event", "PostgreSQL from", "s without writes: virtual IP", "both hosts", "rows acknowledged", "lost"},
		{"switchover", "containers", "1.23", "0.80", "4711", "0"},
		// What could not be counted is not a number.
		{"host powered off and back", "host packages", "3.00", "0.00", "12", "unknown"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "results.json")
	if err := WriteJSON(path, results); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []Result
	if err := json.Unmarshal(text, &got); err != nil || !slices.Equal(got, results) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestResultWithin(t *testing.T) {
	r := Result{Virtual: time.Second, Direct: 3 * time.Second}
	if err := r.within(3 * time.Second); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	if r.within(2*time.Second) == nil {
		t.Error("the slower of the two clients counts, too")
	}
}

func TestBearable(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{
		time.Second: 3 * time.Second, 5 * time.Second: 15 * time.Second, 20 * time.Second: 35 * time.Second, 3 * time.Minute: 195 * time.Second,
	} {
		if got := bearable(limit); got != want {
			t.Errorf("%s of %s are bearable, want %s", got, limit, want)
		}
	}
}

type heard []string

func (h *heard) Step(text string)  { *h = append(*h, text) }
func (h *heard) Progress(Progress) {}
func (h *heard) Slow(error)        {}

func TestTellStopsAtTheFirstStepThatFails(t *testing.T) {
	broken := errors.New("the host is on fire")
	step := func(text string, err error) Step {
		return Step{Text: text, Do: func(ctx context.Context) error {
			if _, bounded := ctx.Deadline(); !bounded {
				return errors.New("the step has no deadline")
			}
			return err
		}}
	}
	var h heard
	err := Tell(context.Background(), []Step{step("first", nil), step("second", broken), step("third", nil)}, &h)
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "second: ") {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(h, heard{"first", "second"}) {
		t.Errorf("heard %q", h)
	}
}

func TestReportSummarisesTheRunsOfAnEvent(t *testing.T) {
	run := func(event string, virtual, direct time.Duration, lost int, counted bool) Result {
		return Result{Mode: "containers", Event: event, Virtual: virtual, Direct: direct, Acknowledged: 100, Lost: lost, Counted: counted}
	}
	text := string(report([]Result{
		run("crash", 3*time.Second, 2*time.Second, 0, true),
		run("crash", time.Second, 4*time.Second, 0, true),
		run("crash", 2*time.Second, 3*time.Second, 1, true),
		run("cut", time.Second, time.Second, 0, false),
	}))
	for _, want := range []string{
		"| crash | containers | 3 | 1.0 / 2.0 / 3.0 | 2.0 / 3.0 / 4.0 | 300 | 1 |\n",
		"| cut | containers | 1 | 1.0 / 1.0 / 1.0 | 1.0 / 1.0 / 1.0 | 100 | unknown |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
