package pg

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ha"
)

// What pg_waldump of PostgreSQL 15 prints of a primary that was killed.
const killed = `rmgr: Heap        len (rec/tot):     61/    61, tx:        725, lsn: 0/00869C18, prev 0/008696E0, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        725, lsn: 0/00869CF8, prev 0/00869CB8, desc: COMMIT 2026-11-24 23:55:25.721060 UTC
rmgr: Heap        len (rec/tot):     61/    61, tx:        726, lsn: 0/00869D20, prev 0/00869CF8, desc: INSERT off 2 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        726, lsn: 0/00869DA0, prev 0/00869D60, desc: COMMIT 2026-11-24 23:55:25.721268 UTC
rmgr: Storage     len (rec/tot):     42/    42, tx:        727, lsn: 0/00869DF8, prev 0/00869DC8, desc: CREATE base/5/16391
rmgr: XLOG        len (rec/tot):     49/  8241, tx:        727, lsn: 0/0086B9E8, prev 0/0086B930, desc: FPI_FOR_HINT , blkref #0: rel 1663/5/1249 fork fsm blk 1 FPW
rmgr: Transaction len (rec/tot):    469/   469, tx:        728, lsn: 0/00870610, prev 0/008705D8, desc: COMMIT 2026-11-24 23:55:25.722403 UTC; rels: base/5/16391; dropped stats: 2/5/16391
rmgr: Transaction len (rec/tot):     34/    34, tx:        729, lsn: 0/00870868, prev 0/00870828, desc: ABORT 2026-11-24 23:55:25.722762 UTC
rmgr: Transaction len (rec/tot):    242/   242, tx:        730, lsn: 0/00870950, prev 0/00870910, desc: PREPARE gid COMMIT: 2026-11-24 23:55:25.732218 UTC
rmgr: Transaction len (rec/tot):     42/    42, tx:          0, lsn: 0/00870A48, prev 0/00870950, desc: COMMIT_PREPARED 730: 2026-11-24 23:55:25.742040 UTC
rmgr: Transaction len (rec/tot):     50/    50, tx:        731, lsn: 0/00870B78, prev 0/00870B38, desc: COMMIT 2026-11-24 23:55:25.752275 UTC; subxacts: 732 733
pg_waldump: error: error in WAL record at 0/870B78: invalid record length at 0/870BB0: wanted 24, got 0
`

const mib = 1 << 20

func TestWhatIsReadFromWAL(t *testing.T) {
	first := time.Date(2026, 11, 24, 23, 55, 25, 721060000, time.UTC)
	last := time.Date(2026, 11, 24, 23, 55, 25, 752275000, time.UTC)
	table, catalogue := Relation{1663, 5, 16384}, Relation{1663, 5, 1249}
	tests := []struct {
		name, text string
		from       ha.LSN
		want       WALReading
	}{
		{"to the end of WAL", killed, 0x869C18, WALReading{Began: 0x869C18, Last: 0x870B78, End: 0x870BB0, Commits: 5, Prepared: 1, FirstCommit: first, LastCommit: last,
			Records: map[Relation]int{table: 2, catalogue: 1}, Made: map[Relation]bool{{1663, 5, 16391}: true},
			Message: "error: error in WAL record at 0/870B78: invalid record length at 0/870BB0: wanted 24, got 0"}},
		{"what comes before is not counted", killed, 0x870B78, WALReading{Began: 0x869C18, Last: 0x870B78, End: 0x870BB0, Commits: 1, FirstCommit: last, LastCommit: last,
			Message: "error: error in WAL record at 0/870B78: invalid record length at 0/870BB0: wanted 24, got 0"}},
		{"the end itself", killed, 0x870BB0, WALReading{Began: 0x869C18, Last: 0x870B78, End: 0x870BB0,
			Message: "error: error in WAL record at 0/870B78: invalid record length at 0/870BB0: wanted 24, got 0"}},
		{"of PostgreSQL 14", "pg_waldump: fatal: could not find file \"000000010000000000000090\": No such file or directory\n", 0x9000000,
			WALReading{Message: "fatal: could not find file \"000000010000000000000090\": No such file or directory"}},
		{"of PostgreSQL 17, a segment left early", "rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/03000148, prev 0/03000110, desc: SWITCH \n", 0x3000000,
			WALReading{Began: 0x3000148, Last: 0x3000148, End: 0x3100000}},
		{"a message in the middle of a line", "rmgr: Transaction len (rec/tot):     34/    34, tx:  pg_waldump: error: error in WAL record at 0/1: x\n" +
			"      725, lsn: 0/00869CF8, prev 0/00869CB8, desc: COMMIT 2026-11-24 23:55:25.721060 UTC\n", 0x869C18,
			WALReading{Began: 0x869CF8, Last: 0x869CF8, End: 0x869D20, Commits: 1, FirstCommit: first, LastCommit: first, Message: "error: error in WAL record at 0/1: x"}},
		{"of another tablespace", "rmgr: Storage     len (rec/tot):     42/    42, tx:        727, lsn: 0/00869DF8, prev 0/00869DC8, desc: CREATE pg_tblspc/16386/PG_17_202406281/5/16391\n", 0x869DF8,
			WALReading{Began: 0x869DF8, Last: 0x869DF8, End: 0x869E28, Made: map[Relation]bool{{16386, 5, 16391}: true}}},
		{"what is no record", "rmgr: Transaction what is this\n", 0x869DF8, WALReading{Unreadable: 1}},
		{"what a runtime says", "time=\"x\" level=warning msg=\"rmgr\"\n", 0x869DF8, WALReading{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := WALReading{From: test.from, SegmentSize: mib}
			for chunk := range slices.Chunk([]byte(test.text), 100) { // lines in pieces
				if n, err := r.Write(chunk); n != len(chunk) || err != nil {
					t.Fatal(n, err)
				}
			}
			r.pending = nil
			test.want.From, test.want.SegmentSize = test.from, mib
			if !reflect.DeepEqual(r, test.want) {
				t.Errorf("\n%+v, want\n%+v", r, test.want)
			}
		})
	}
}

func TestWhetherReadingWasContinuous(t *testing.T) {
	for began, want := range map[ha.LSN]bool{0: false, 0x869000: true, 0x869C18: true, 0x869C18 + walLongHeader: true, 0x86A000: false} {
		if got := (&WALReading{From: 0x869C18, Began: began}).Continuous(); got != want {
			t.Errorf("begun at %s: %t", began, got)
		}
	}
}

func TestEndOfRecord(t *testing.T) {
	tests := []struct {
		name   string
		at     ha.LSN
		length int64
		want   ha.LSN
	}{
		{"within a page", 0x869C18, 61, 0x869C58},
		{"exactly at the end of a page", 0x869FE0, 32, 0x86A000},
		{"across the next page's header", 0x869FF8, 61, 0x86A050}, // 8 here, 24 of header, 53 there, aligned
		{"over several pages", 0x86A2C0, 2 * 8192, 0x86E2C0 + 2*24},
		{"into the next segment", 0x8FFFF8, 16, 0x900000 + 40 + 8},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := endOfRecord(test.at, test.length, mib); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestSegments(t *testing.T) {
	const size = 16 * mib
	names := []string{"000000020000000100000003", "0000000200000000000000FF", "0000000200000000000000FE.partial", "00000003.history",
		"000000030000000000000001", "archive_status", "000000020000000000000X01"}
	if got, want := WALSegments(names, 2, size), []uint64{0xFF, 0x103}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	for number, name := range map[uint64]string{0x103: names[0], 0xFF: names[1]} {
		if got := SegmentName(2, number, size); got != name {
			t.Errorf("%s, want %s", got, name)
		}
		if at, ok := SegmentStart(name, size); !ok || at != ha.LSN(number*size) {
			t.Errorf("%s begins at %s", name, at)
		}
	}
	if _, ok := SegmentStart("somewhere", size); ok {
		t.Error("any name is a segment's")
	}
}

func TestTheMostChangedRelationsComeFirst(t *testing.T) {
	r := WALReading{Records: map[Relation]int{{1, 2, 3}: 1, {1, 2, 4}: 9, {1, 2, 5}: 1}}
	if got := fmt.Sprint(r.Changed()); got != "[1/2/4 1/2/3 1/2/5]" {
		t.Error(got)
	}
}

// TestWALOfAServerThatWasKilled reads what a real server has left behind.
func TestWALOfAServerThatWasKilled(t *testing.T) {
	s := newServer(t, "killed", template)
	c := s.start()
	c.must(t, "create table public.t (a int)")
	from, err := ha.ParseLSN(c.value(t, "select pg_current_wal_insert_lsn()::text"))
	must(t, err)
	for range 3 {
		c.must(t, "insert into public.t values (1)")
	}
	c.must(t, "insert into public.t select generate_series(1, 50000)") // over more than one segment
	node := c.value(t, "select pg_relation_filenode('public.t')::text")
	end, err := ha.ParseLSN(c.value(t, "select pg_current_wal_insert_lsn()::text"))
	must(t, err)
	s.crash()

	r := &WALReading{From: from, SegmentSize: mib}
	cmd := program(t.Context(), WALDump(s.data, 1, from-0x400, ^ha.LSN(0)))
	cmd.Env = append(cmd.Env, "TZ=UTC")
	cmd.Stdout, cmd.Stderr = r, r
	if err := cmd.Run(); err == nil {
		t.Error("the end of WAL is no error any more")
	}
	if r.Commits != 4 || !r.Continuous() || !r.AtEnd() || r.End < end || r.Unreadable > 0 || r.FirstCommit.IsZero() {
		t.Errorf("%+v, ends at %s, not at %s", r, r.End, end)
	}
	if changed := r.Changed(); len(changed) == 0 || !strings.HasSuffix(changed[0].String(), "/"+node) {
		t.Errorf("changed %v, not %s", changed, node)
	}
}
