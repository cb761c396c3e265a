package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

const segment = 1 << 20

// commit is the record of a commit as pg_waldump prints it.
func commit(at ha.LSN) string {
	return fmt.Sprintf("rmgr: Transaction len (rec/tot):     34/    34, tx:        725, lsn: %X/%08X, prev 0/00000001, desc: COMMIT 2026-11-24 23:55:25.721060 UTC\n",
		uint64(at)>>32, uint32(at))
}

func insert(at ha.LSN, node int) string {
	return fmt.Sprintf("rmgr: Heap        len (rec/tot):     61/    61, tx:        725, lsn: 0/%08X, prev 0/00000001, desc: INSERT off 1 flags 0x00, blkref #0: rel 1663/5/%d blk 0\n", uint32(at), node)
}

const (
	endOfWAL = "pg_waldump: error: error in WAL record at 0/1: invalid record length at 0/2: wanted 24, got 0\n"
	noRecord = "pg_waldump: error: could not find a valid record after 0/1\n"
	noFile   = "pg_waldump: error: could not find file \"000000020000000000000006\": No such file or directory\n"
)

// tailOf is a primary's that crashed on timeline 2, which was left at 0/500148.
func tailOf(segments ...uint64) *tail {
	t := &tail{ended: ha.Crashed, fork: ha.Switch{Timeline: 2, At: 0x500148}, stretches: []ha.Stretch{{Timeline: 2, From: 0x500148, To: ^ha.LSN(0)}},
		control: pg.Control{SegmentSize: segment, Timeline: 2, Checkpoint: 0x500028}}
	for _, n := range segments {
		t.names = append(t.names, pg.SegmentName(2, n, segment))
	}
	return t
}

func TestTail(t *testing.T) {
	before := insert(0x500100, 16384)
	tests := []struct {
		name     string
		tail     *tail
		wal      map[string]string // what pg_waldump prints, by where it begins
		commits  int
		missing  ha.LSN
		complete bool
		to       ha.LSN
	}{
		{"two commits up to the end of WAL", tailOf(4, 5, 6),
			map[string]string{"0/4E0000": before + commit(0x500148) + insert(0x500170, 16384) + commit(0x5001B0) + endOfWAL}, 2, 0, true, 0x5001D8},
		{"nothing beyond the fork", tailOf(4, 5), map[string]string{"0/4E0000": insert(0x500108, 16384) + endOfWAL}, 0, 0, true, 0x500148},
		{"a segment before is gone, which is no matter", tailOf(5, 6), map[string]string{"0/500000": before + commit(0x500148) + endOfWAL}, 1, 0, true, 0x500170},
		{"the segment of the fork is gone", tailOf(6, 7), map[string]string{"0/600000": commit(0x600028) + endOfWAL}, 1, 0x500148, false, 0x600050},
		{"all WAL is gone", tailOf(), nil, 0, 0x500148, false, 0x500148},
		{"a segment in the middle is gone", tailOf(5, 7), map[string]string{"0/500000": before + commit(0x500148) + noFile, "0/700000": commit(0x700028) + endOfWAL},
			2, 0x500170, false, 0x700050},
		{"the last segment is gone", tailOf(5), map[string]string{"0/500000": before + commit(0x500148) + noFile}, 1, 0x500170, false, 0x500170},
		{"WAL that ends before the checkpoint is damaged", func() *tail { t := tailOf(5, 6); t.control.Checkpoint = 0x600100; return t }(),
			map[string]string{"0/500000": before + commit(0x500148) + endOfWAL, "0/600000": commit(0x600108) + endOfWAL}, 2, 0x500170, false, 0x600130},
		{"WAL that ends before what was sent", tailOf(5), map[string]string{"0/500000": insert(0x500030, 16384) + endOfWAL}, 0, 0x500148, false, 0x500148},
		{"a standby's may end before", func() *tail { t := tailOf(5); t.ended = ha.Replaying; return t }(),
			map[string]string{"0/500000": insert(0x500030, 16384) + endOfWAL}, 0, 0, true, 0x500148},
		{"no record is found where the fork is", tailOf(5), map[string]string{"0/500000": noRecord}, 0, 0x500148, false, 0x500148},
		{"the first record that is found is later", tailOf(5), map[string]string{"0/500000": commit(0x500200) + endOfWAL}, 1, 0x500148, false, 0x500228},
		{"pg_waldump does not run", tailOf(5), map[string]string{"0/500000": ""}, 0, 0x500148, false, 0x500148},
		{"output that is not understood", tailOf(5), map[string]string{"0/500000": before + commit(0x500148) + "rmgr: what\n" + endOfWAL}, 1, 0x500148, false, 0x500170},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.tail.read(t.Context(), func(_ context.Context, argv []string, output io.Writer) error {
				for _, argument := range argv {
					if start, found := strings.CutPrefix(argument, "--start="); found {
						text, known := test.wal[start]
						if !known {
							t.Errorf("%v was not expected", argv)
						}
						if text == "" {
							return errors.New("cannot run pg_waldump")
						}
						io.WriteString(output, text)
					}
				}
				return nil
			})
			got := test.tail.loss()
			if got.Transactions != test.commits || got.Missing != test.missing || got.Complete != test.complete || got.To != test.to {
				t.Errorf("%+v", got)
			}
			if got.None() != (test.complete && test.commits == 0) || got.Bytes != int64(test.to-0x500148) || got.Complete != (got.Why == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestATailOverTwoTimelines(t *testing.T) {
	tail := tailOf(5, 6)
	tail.stretches = []ha.Stretch{{Timeline: 2, From: 0x500148, To: 0x600100}, {Timeline: 3, From: 0x600100, To: ^ha.LSN(0)}}
	tail.names = append(tail.names, pg.SegmentName(3, 6, segment))
	tail.control.Timeline, tail.control.Checkpoint = 3, 0x600100
	var ran []string
	tail.read(t.Context(), func(_ context.Context, argv []string, output io.Writer) error {
		ran = append(ran, strings.Join(argv[2:], " "))
		text := insert(0x500100, 16384) + commit(0x500148)
		if len(ran) == 2 {
			text = insert(0x600030, 16384) + commit(0x600100) + commit(0x600128) + endOfWAL
		}
		io.WriteString(output, text)
		return nil
	})
	if want := []string{"--timeline=2 --start=0/500000 --end=0/600100", "--timeline=3 --start=0/600000"}; !slices.Equal(ran, want) {
		t.Errorf("ran %q, want %q", ran, want)
	}
	if l := tail.loss(); l.Transactions != 3 || !l.Complete || l.Timeline != 2 || l.To != 0x600150 {
		t.Errorf("%+v", l)
	}
}

func TestPeoplesRelationsAreShown(t *testing.T) {
	tail := tailOf(5)
	tail.found.Records = map[pg.Relation]int{{Tablespace: 1663, Database: 5, Node: 1259}: 99}
	for n := range uint32(12) {
		tail.found.Records[pg.Relation{Tablespace: 1663, Database: 5, Node: 16400 + n}] = int(100 - n)
	}
	l := tail.loss()
	if len(l.Relations) != shownRelations || l.Relations[0] != "1663/5/16400" || l.More != 2 {
		t.Errorf("%v and %d more", l.Relations, l.More)
	}
	a, b, c := pg.Relation{Node: 1}, pg.Relation{Node: 2}, pg.Relation{Node: 3}
	got := nameAll([]pg.Relation{a, b, c, {Node: 4}}, map[pg.Relation]string{a: "db.s.t", b: "db.s.t", c: "another's"}, map[pg.Relation]bool{c: true})
	if want := []string{"db.s.t", "0/0/3 (new)", "0/0/4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFilesOfATail(t *testing.T) {
	tail := tailOf(4, 5, 6, 7)
	tail.pgdata, tail.names = t.TempDir(), append(tail.names, "00000002.history", "000000030000000000000005")
	must(t, os.Mkdir(filepath.Join(tail.pgdata, "pg_wal"), 0o700))
	for _, name := range tail.names {
		must(t, os.WriteFile(filepath.Join(tail.pgdata, "pg_wal", name), make([]byte, 100), 0o600))
	}
	tail.found.End = 0x600050
	tests := []struct {
		limit     int64
		want      []string
		kept, all int64
	}{
		{1000, []string{"00000002.history", pg.SegmentName(2, 5, segment), pg.SegmentName(2, 6, segment)}, 300, 300},
		{299, []string{"00000002.history", pg.SegmentName(2, 5, segment)}, 200, 300},
		{0, nil, 0, 300},
	}
	for _, test := range tests {
		paths, kept, all := tail.files(test.limit)
		var names []string
		for _, path := range paths {
			names = append(names, filepath.Base(path))
		}
		if !slices.Equal(names, test.want) || kept != test.kept || all != test.all {
			t.Errorf("limit %d: %v, %d of %d", test.limit, names, kept, all)
		}
	}
}
