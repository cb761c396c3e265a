package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	show := func(asJSON bool, limit int) string {
		t.Helper()
		var out bytes.Buffer
		if err := showHistory(&out, path, asJSON, limit); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := show(false, 20) + show(true, 20); got != "Nothing has happened yet.\n[]\n" {
		t.Errorf("of a host that is new:\n%s", got)
	}
	at := time.Date(2026, 11, 24, 23, 55, 0, 0, time.Local)
	for n, e := range []control.Event{
		{Kind: control.EventCrash, Why: "h2 takes over: PostgreSQL died as primary"},
		{Kind: control.EventPromotion, Node: "h2", Epoch: 4, Timeline: 4, LSN: 0x5000148},
		{Kind: control.EventLost, Node: "h2", Loss: &control.Loss{Timeline: 3, From: 0x5000148, Transactions: 12, Complete: true, Bytes: 600, Kept: "/data.lost-1"}},
		{Kind: control.EventRejoin, Node: "h2", Course: ha.Rewind, Why: "crashed as primary", Seconds: 2.31},
	} {
		e.At = at.Add(time.Duration(n) * time.Second)
		if err := control.Note(path, e); err != nil {
			t.Fatal(err)
		}
	}
	want := `2026-11-24 23:55:00  crash      h2 takes over: PostgreSQL died as primary
2026-11-24 23:55:01  promotion  h2 was promoted: epoch 4, timeline 4 from 0/5000148 on
2026-11-24 23:55:02  lost       12 transactions are lost: 600 bytes of WAL beyond 0/5000148 on timeline 3, where h2 left it; the WAL is kept in /data.lost-1
2026-11-24 23:55:03  rejoin     standby after 2.3 s by rewind: crashed as primary
`
	if got := show(false, 20); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if got := show(false, 1); strings.Count(got, "\n") != 1 || !strings.Contains(got, "rejoin") {
		t.Errorf("the newest one is\n%s", got)
	}
	var events []struct {
		Event string
		Loss  *struct{ Transactions int }
	}
	if err := json.Unmarshal([]byte(show(true, 0)), &events); err != nil || len(events) != 4 || events[2].Event != "lost" || events[2].Loss.Transactions != 12 {
		t.Errorf("%+v, %v", events, err)
	}
}
