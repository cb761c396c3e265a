package control

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if events, err := ReadHistory(path); err != nil || events != nil {
		t.Errorf("of a host that is new: %v, %v", events, err)
	}
	began := time.Date(2026, 11, 24, 23, 55, 0, 0, time.UTC)
	add := func(kind EventKind, second int, why string) {
		t.Helper()
		if err := Note(path, Event{At: began.Add(time.Duration(second) * time.Second), Kind: kind, Why: why}); err != nil {
			t.Fatal(err)
		}
	}
	why := func() string {
		events, err := ReadHistory(path)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range events {
			all = append(all, e.Why)
		}
		return strings.Join(all, " ")
	}
	add(EventPromotion, 2, "promoted")
	add(EventLost, 3, "numbers")
	add(EventRejoin, 4, "rewound")
	add(EventLost, 3, "names")
	add(EventCrash, 1, "crashed")
	if got, want := why(), "crashed promoted names rewound"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// A line that a loss of power, or a person, has spoilt.
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("{\"at\":\n"), text...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := why(), "crashed promoted names rewound"; got != want {
		t.Errorf("with a line that is none: %q, want %q", got, want)
	}
	for second := range keptEvents {
		add(EventPromotion, 10+second, "again")
	}
	if got := why(); strings.Count(got, " ") != keptEvents-1 || strings.Contains(got, "names") {
		t.Errorf("%d events are kept", strings.Count(got, " ")+1)
	}
}

func TestTwoProcessesWriteOneHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	var writers sync.WaitGroup
	for second := range 20 {
		writers.Go(func() {
			if err := Note(path, Event{At: time.Unix(int64(second), 0), Kind: EventCrash}); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if events, err := ReadHistory(path); err != nil || len(events) != 20 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestLossInWords(t *testing.T) {
	at := time.Date(2026, 11, 24, 23, 55, 25, 0, time.UTC)
	known := Loss{Timeline: 3, From: 0x5000148, To: 0x5009148, Bytes: 36864, Transactions: 12, First: at, Last: at.Add(2 * time.Second), Complete: true,
		Relations: []string{"shop.public.orders", "1663/5/16400"}, More: 3, Kept: "/data.lost-1"}
	change := func(change func(*Loss)) Loss {
		l := known
		change(&l)
		return l
	}
	tests := []struct {
		name string
		loss Loss
		want string
	}{
		{"all of it is known", known, "12 transactions are lost: 36 kB of WAL beyond 0/5000148 on timeline 3, where h2 left it; " +
			"committed from 2026-11-24 23:55:25 to 2026-11-24 23:55:27 UTC; they changed shop.public.orders, 1663/5/16400 and 3 more; the WAL is kept in /data.lost-1"},
		{"nothing", Loss{Timeline: 3, From: 0x5000148, Complete: true}, "no transaction is lost: there is none beyond 0/5000148 on timeline 3, where h2 left it"},
		{"WAL is missing", change(func(l *Loss) { l.Complete, l.Why, l.Transactions = false, "WAL is missing from 0/6000000 on", 1 }),
			"at least 1 transaction is lost: 36 kB of WAL beyond 0/5000148 on timeline 3, where h2 left it; committed from 2026-11-24 23:55:25 to 2026-11-24 23:55:27 UTC; " +
				"they changed shop.public.orders, 1663/5/16400 and 3 more; there may be more: WAL is missing from 0/6000000 on; the WAL is kept in /data.lost-1"},
		{"none that is seen, but WAL is missing", Loss{Timeline: 3, From: 0x5000148, Why: "pg_waldump is missing", NotKept: "no room"},
			"at least 0 transactions are lost: 0 bytes of WAL beyond 0/5000148 on timeline 3, where h2 left it; there may be more: pg_waldump is missing; the WAL is not kept: no room"},
		{"prepared transactions", Loss{Timeline: 3, From: 0x5000148, Prepared: 2, Complete: true, Bytes: 20 << 20},
			"0 transactions and 2 prepared ones are lost: 20 MB of WAL beyond 0/5000148 on timeline 3, where h2 left it"},
		{"more than is kept", Loss{Timeline: 3, From: 0x5000148, Transactions: 2, Complete: true, Bytes: 20 << 20, Kept: "/k", KeptBytes: 16 << 20, NotKept: "lost_wal_keep_size"},
			"2 transactions are lost: 20 MB of WAL beyond 0/5000148 on timeline 3, where h2 left it; the first 16 MB are kept in /k: lost_wal_keep_size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.loss.Sentence("h2"); got != test.want {
				t.Errorf("\n%s, want\n%s", got, test.want)
			}
		})
	}
}
