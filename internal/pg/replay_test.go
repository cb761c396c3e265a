package pg

import (
	"testing"

	"pgtwin/internal/ha"
)

func TestWhatAStandbyLacksOfThePrimarysSettings(t *testing.T) {
	required := HotStandby{MaxConnections: 300, MaxWorkerProcesses: 8, MaxWALSenders: 10, MaxPreparedTransactions: 5, MaxLocksPerTransaction: 64}
	if short := required.Short(required); short != "" {
		t.Errorf("of the same: %s", short)
	}
	here := required
	here.MaxConnections, here.MaxPreparedTransactions, here.MaxWALSenders = 100, 0, 20
	want := "max_connections is 100 here and 300 on the primary, max_prepared_transactions is 0 here and 5 on the primary"
	if short := here.Short(required); short != want {
		t.Errorf("%s", short)
	}
}

// A commit lies in a whole record; what follows the last one is none.
func TestAWholeRecordIsTold(t *testing.T) {
	a := newServer(t, "a", template)
	c := a.start()
	c.must(t, "CREATE TABLE public.t (i int)")
	at := func(function string) ha.LSN {
		lsn, err := ha.ParseLSN(c.value(t, "SELECT "+function+"()::text"))
		must(t, err)
		return lsn
	}
	before := at("pg_current_wal_insert_lsn")
	c.must(t, "INSERT INTO public.t VALUES (1)")
	after := at("pg_current_wal_flush_lsn")
	a.crash() // so that no more is written
	tests := []struct {
		name     string
		at, upTo ha.LSN
		want     bool
	}{
		{"a commit", before, after, true},
		{"nothing", after, after, false},
		{"its beginning", before, before + 16, false},
		{"zeroes behind the last", after, after + 1000, false},
	}
	for _, test := range tests {
		whole, err := WholeRecord(a.data, 1, test.at, test.upTo)
		must(t, err)
		if whole != test.want {
			t.Errorf("%s, from %s to %s: %v", test.name, test.at, test.upTo, whole)
		}
	}
	if whole, err := WholeRecord(a.data, 7, before, after); whole || err != nil {
		t.Errorf("of a timeline that is not there: %v, %v", whole, err)
	}
}
