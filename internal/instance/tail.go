package instance

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// tail is the WAL of this host beyond the point where the primary's history
// left its own.
type tail struct {
	pgdata    string
	control   pg.Control
	ended     ha.Ending
	fork      ha.Switch
	stretches []ha.Stretch
	names     []string // of the files in pg_wal

	found   pg.WALReading
	missing ha.LSN // where WAL is missing first, 0: nowhere
	why     string // the reading is not complete
}

// findTail compares the history of the data with the primary's.
func findTail(pgdata string, arrival ha.Arrival) (*tail, error) {
	c, err := pg.ReadControl(pgdata)
	if err != nil {
		return nil, err
	}
	ours, err := pg.ReadHistory(pgdata, c.Reached())
	if err != nil {
		return nil, err
	}
	fork, ok := ha.Fork(ours, arrival.Primary.History, arrival.Primary.Position)
	if !ok {
		return nil, fmt.Errorf("timeline %d has nothing in common with the history of %s", ours.Timeline, arrival.Epoch.Node)
	}
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_wal"))
	if err != nil {
		return nil, err
	}
	t := &tail{pgdata: pgdata, control: c, ended: arrival.Ended, fork: fork, stretches: ours.Beyond(fork)}
	for _, e := range entries {
		t.names = append(t.names, e.Name())
	}
	return t, nil
}

// dump runs pg_waldump; its exit status says nothing, because the end of WAL
// is an error to it.
type dump func(ctx context.Context, argv []string, output io.Writer) error

func (t *tail) read(ctx context.Context, run dump) {
	for _, s := range t.stretches {
		t.readStretch(ctx, s, run)
	}
}

// maxHoles bounds how many holes in the WAL are stepped over.
const maxHoles = 8

// readStretch reads a stretch from its beginning and, where WAL is missing, on
// from the next segment that is there.
func (t *tail) readStretch(ctx context.Context, s ha.Stretch, run dump) {
	segments := pg.WALSegments(t.names, s.Timeline, t.control.SegmentSize)
	at, ok := t.leadIn(segments, s.From)
	if !ok {
		t.lack(s.From)
		if at, ok = t.next(segments, s.From); !ok {
			return
		}
	}
	for n := range maxHoles {
		r := &pg.WALReading{From: s.From, SegmentSize: t.control.SegmentSize}
		err := run(ctx, pg.WALDump(t.pgdata, s.Timeline, at, s.To), r)
		t.found.Add(r)
		switch {
		case err != nil:
			t.doubt(max(r.End, s.From), err.Error())
			return
		case r.Unreadable > 0:
			t.doubt(s.From, "pg_waldump printed what was not understood")
		case n == 0 && !r.Continuous():
			t.lack(s.From)
		}
		if r.Message == "" || r.AtEnd() && t.certain(s, r.End) {
			return
		}
		t.lack(max(r.End, s.From))
		if at, ok = t.next(segments, max(r.End, at)); !ok || at >= s.To {
			return
		}
	}
}

// lead is how far before a position reading begins, for a record before it to
// prove that none is missing in between.
const lead = 128 << 10

// leadIn is where to begin reading for a position; not ok where its segment is
// not there.
func (t *tail) leadIn(segments []uint64, from ha.LSN) (at ha.LSN, ok bool) {
	size := ha.LSN(t.control.SegmentSize)
	has := func(at ha.LSN) bool {
		for _, n := range segments {
			if n == uint64(at/size) {
				return true
			}
		}
		return false
	}
	if !has(from) {
		return 0, false
	}
	const page = 8192
	if at = (from - min(lead, from)) / page * page; !has(at) {
		at = from / size * size
	}
	return at, true
}

// next is the beginning of the first segment after the one of a position.
func (t *tail) next(segments []uint64, at ha.LSN) (ha.LSN, bool) {
	size := uint64(t.control.SegmentSize)
	for _, n := range segments {
		if n > uint64(at)/size {
			return ha.LSN(n * size), true
		}
	}
	return 0, false
}

// certain says whether WAL that ends here can have ended here. The server had
// written at least what its control file names, and a primary what it had sent.
func (t *tail) certain(s ha.Stretch, end ha.LSN) bool {
	c := t.control
	switch {
	case s.To != ^ha.LSN(0):
		return end >= s.To
	case c.Timeline == s.Timeline && end <= c.Checkpoint:
		return false
	case c.MinRecoveryTimeline == s.Timeline && end < c.MinRecovery:
		return false
	}
	return t.ended != ha.Crashed || end >= s.From
}

func (t *tail) lack(at ha.LSN) { t.doubt(at, fmt.Sprintf("WAL is missing from %s on", at)) }

// doubt notes the first place from which on something may have been missed.
func (t *tail) doubt(at ha.LSN, why string) {
	if t.why == "" {
		t.missing, t.why = at, why
	}
}

// firstUserNode is the lowest number of what is no system catalogue
// (FirstNormalObjectId of transam.h).
const firstUserNode = 16384

const shownRelations = 10

// changed are people's relations that were changed, the most changed first.
func (t *tail) changed() (shown []pg.Relation, more int) {
	for _, r := range t.found.Changed() {
		switch {
		case r.Node < firstUserNode:
		case len(shown) < shownRelations:
			shown = append(shown, r)
		default:
			more++
		}
	}
	return shown, more
}

// loss is what the reading amounts to.
func (t *tail) loss() control.Loss {
	l := control.Loss{Timeline: t.fork.Timeline, From: t.fork.At, To: max(t.fork.At, t.found.End),
		Transactions: t.found.Commits, Prepared: t.found.Prepared, First: t.found.FirstCommit, Last: t.found.LastCommit,
		Complete: t.why == "", Missing: t.missing, Why: t.why}
	l.Bytes = int64(l.To - l.From)
	relations, more := t.changed()
	for _, r := range relations {
		l.Relations = append(l.Relations, r.String())
	}
	l.More = more
	return l
}

// files are the files with the tail, the histories first and then the oldest
// segment; as many as go into limit bytes, and what all of them have.
func (t *tail) files(limit int64) (paths []string, kept, all int64) {
	names := t.histories()
	for _, s := range t.stretches {
		names = append(names, t.segmentsOf(s)...)
	}
	for _, name := range names {
		path := filepath.Join(t.pgdata, "pg_wal", name)
		info, err := os.Stat(path)
		if err != nil {
			continue // what is gone cannot be kept
		}
		if all += info.Size(); all <= limit {
			paths, kept = append(paths, path), all
		}
	}
	return paths, kept, all
}

func (t *tail) histories() []string {
	var names []string
	for _, name := range t.names {
		if strings.HasSuffix(name, ".history") {
			names = append(names, name)
		}
	}
	return names
}

// segmentsOf are the segments that have a stretch. Beyond the end of WAL there
// are others, which PostgreSQL has made in advance.
func (t *tail) segmentsOf(s ha.Stretch) []string {
	size := uint64(t.control.SegmentSize)
	end := s.To
	if t.found.End > s.From {
		end = min(end, t.found.End)
	}
	var names []string
	for _, n := range pg.WALSegments(t.names, s.Timeline, t.control.SegmentSize) {
		if n >= uint64(s.From)/size && n*size < uint64(end) {
			names = append(names, pg.SegmentName(s.Timeline, n, t.control.SegmentSize))
		}
	}
	return names
}
