package pg

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgtwin/internal/ha"
)

// WALDump prints the records of a timeline from a position on, up to another or, where that is the
// highest LSN, to the end of WAL. It wants TZ=UTC in its environment.
func WALDump(pgdata string, tl ha.Timeline, from, to ha.LSN) []string {
	argv := []string{"pg_waldump", "--path=" + pgdata + "/pg_wal", "--timeline=" + strconv.FormatUint(uint64(tl), 10), "--start=" + from.String()}
	if to != ^ha.LSN(0) {
		argv = append(argv, "--end="+to.String())
	}
	return argv
}

// Relation is a relation by the numbers that WAL has of it.
type Relation struct{ Tablespace, Database, Node uint32 }

// String is the relation as pg_waldump writes it.
func (r Relation) String() string { return fmt.Sprintf("%d/%d/%d", r.Tablespace, r.Database, r.Node) }

// WALReading is what pg_waldump's output, which is written to it, says of the WAL from a position on.
type WALReading struct {
	From        ha.LSN // records before it are not counted
	SegmentSize int64

	Began       ha.LSN    // the first record, before From or after it
	Last        ha.LSN    // the beginning of the last record
	End         ha.LSN    // the end of the last record
	Commits     int       // transactions that were committed, those that were prepared before included
	Prepared    int       // transactions that were prepared, whatever became of them
	FirstCommit time.Time // zero: none
	LastCommit  time.Time
	Records     map[Relation]int  // how many records changed each relation
	Made        map[Relation]bool // relations whose file was made on the way: elsewhere the number is another's
	Message     string            // pg_waldump's last word
	Unreadable  int               // lines that are no record as they ought to be
	pending     []byte
	interrupted string // the beginning of a line into which a message has got
}

// manyRelations bounds what is remembered of a WAL that changes very many.
const manyRelations = 10000

// Write takes a part of the output.
func (r *WALReading) Write(p []byte) (int, error) {
	r.pending = append(r.pending, p...)
	for {
		end := bytes.IndexByte(r.pending, '\n')
		if end < 0 {
			return len(p), nil
		}
		r.line(string(r.pending[:end]))
		r.pending = r.pending[end+1:]
	}
}

const waldumpSays = "pg_waldump: "

// line takes one line. docker passes two streams on as one, and the message of
// one can come in the middle of a line of the other.
func (r *WALReading) line(line string) {
	if at := strings.Index(line, waldumpSays); at > 0 && strings.HasPrefix(line, "rmgr:") && waldumpMessage.MatchString(line[at:]) {
		r.interrupted, line = line[:at], line[at:]
	}
	if text, is := strings.CutPrefix(line, waldumpSays); is {
		if !strings.HasPrefix(text, "first record is after") {
			r.Message = text
		}
		return
	}
	line, r.interrupted = r.interrupted+line, ""
	if strings.HasPrefix(line, "rmgr:") {
		r.record(line)
	}
}

var (
	waldumpMessage = regexp.MustCompile(`^pg_waldump: (error|fatal|first)`)
	walRecord      = regexp.MustCompile(`^rmgr: (\S+) +len \(rec/tot\): *\d+/ *(\d+), tx: *\d+, lsn: ([0-9A-F]+/[0-9A-F]+), prev \S+, desc: (.*)$`)
	walBlock       = regexp.MustCompile(`blkref #\d+: rel (\d+)/(\d+)/(\d+) `)
	walFile        = regexp.MustCompile(`(?:base|pg_tblspc/(\d+)/[^/ ]+)/(\d+)/(\d+)`)
	walTime        = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ UTC`)
)

func (r *WALReading) record(line string) {
	fields := walRecord.FindStringSubmatch(line)
	if fields == nil {
		r.Unreadable++
		return
	}
	length, errLength := strconv.ParseInt(fields[2], 10, 64)
	at, errAt := ha.ParseLSN(fields[3])
	if errLength != nil || errAt != nil {
		r.Unreadable++
		return
	}
	rmgr, desc := fields[1], fields[4]
	r.Last, r.End = at, endOfRecord(at, length, r.SegmentSize)
	// The rest of the segment is empty (XLOG_SWITCH).
	if rmgr == "XLOG" && strings.HasPrefix(desc, "SWITCH") {
		size := ha.LSN(r.SegmentSize)
		r.End = (r.End + size - 1) / size * size
	}
	if r.Began == 0 {
		r.Began = at
	}
	if at >= r.From {
		r.count(rmgr, desc)
	}
}

func (r *WALReading) count(rmgr, desc string) {
	switch {
	case rmgr == "Transaction" && strings.HasPrefix(desc, "COMMIT"):
		r.Commits++
		r.note(desc)
	case rmgr == "Transaction" && strings.HasPrefix(desc, "PREPARE"):
		r.Prepared++
	case rmgr == "Storage" && strings.HasPrefix(desc, "CREATE"):
		if made, ok := relationOf(walFile.FindStringSubmatch(desc)); ok && len(r.Made) < manyRelations {
			r.Made = put(r.Made, made, true)
		}
	}
	for _, block := range walBlock.FindAllStringSubmatch(desc, -1) {
		if changed, ok := relationOf(block); ok && (len(r.Records) < manyRelations || r.Records[changed] > 0) {
			r.Records = put(r.Records, changed, r.Records[changed]+1)
		}
	}
}

func put[V any](m map[Relation]V, key Relation, value V) map[Relation]V {
	if m == nil {
		m = map[Relation]V{}
	}
	m[key] = value
	return m
}

// note takes the time from a commit.
func (r *WALReading) note(desc string) {
	at, err := time.Parse("2006-01-02 15:04:05.999999 MST", walTime.FindString(desc))
	if err != nil {
		return
	}
	if r.FirstCommit.IsZero() || at.Before(r.FirstCommit) {
		r.FirstCommit = at
	}
	if at.After(r.LastCommit) {
		r.LastCommit = at
	}
}

// defaultTablespace is pg_default's number (pg_tablespace.dat), which is not in a path.
const defaultTablespace = "1663"

func relationOf(match []string) (Relation, bool) {
	if len(match) < 4 {
		return Relation{}, false
	}
	var n [3]uint32
	for i, text := range []string{cmp.Or(match[1], defaultTablespace), match[2], match[3]} {
		v, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return Relation{}, false
		}
		n[i] = uint32(v)
	}
	return Relation{n[0], n[1], n[2]}, true
}

// Changed are the relations that were changed, the most changed first.
func (r *WALReading) Changed() []Relation {
	return slices.SortedFunc(maps.Keys(r.Records), func(a, b Relation) int {
		return cmp.Or(r.Records[b]-r.Records[a], strings.Compare(a.String(), b.String()))
	})
}

// Layout of WAL (xlog_internal.h): pages of this size, each with a header, of
// which a segment's first is longer.
const (
	walPage         = 8192
	walHeader       = 24
	walLongHeader   = 40
	recordAlignment = 8
)

// endOfRecord is where a record of length bytes at a position ends, the page
// headers in its midst counted.
func endOfRecord(at ha.LSN, length, segment int64) ha.LSN {
	for {
		room := walPage - int64(at%walPage)
		if length <= room {
			end := at + ha.LSN(length)
			return (end + recordAlignment - 1) &^ (recordAlignment - 1)
		}
		length -= room
		at += ha.LSN(room)
		at += ha.LSN(pageHeader(at, segment))
	}
}

func pageHeader(at ha.LSN, segment int64) int64 {
	if segment > 0 && int64(at)%segment == 0 {
		return walLongHeader
	}
	return walHeader
}

// Continuous says whether no record can be missing between From and the first
// that was counted: one before From was read too, or the first lies right there.
func (r *WALReading) Continuous() bool {
	return r.Began > 0 && r.Began <= r.From+walLongHeader
}

// AtEnd says whether pg_waldump stopped where valid records end, as it does at
// the end of WAL, and not for want of a file.
func (r *WALReading) AtEnd() bool { return strings.Contains(r.Message, "error in WAL record at") }

// WALSegments are the numbers of the segments of a timeline that are there, ascending.
func WALSegments(names []string, tl ha.Timeline, size int64) []uint64 {
	var all []uint64
	prefix := fmt.Sprintf("%08X", uint32(tl))
	for _, name := range names {
		if number, ok := segmentNumber(name, size); ok && strings.HasPrefix(name, prefix) {
			all = append(all, number)
		}
	}
	slices.Sort(all)
	return all
}

// segmentNumber reads the name of a segment: timeline, and then the number in two parts, of which the
// second counts the segments in 4 GB (xlog_internal.h, XLogFileName).
func segmentNumber(name string, size int64) (uint64, bool) {
	if len(name) != 24 || size <= 0 {
		return 0, false
	}
	high, errHigh := strconv.ParseUint(name[8:16], 16, 32)
	low, errLow := strconv.ParseUint(name[16:], 16, 32)
	return high*perLog(size) + low, errHigh == nil && errLow == nil
}

func perLog(size int64) uint64 { return uint64(1<<32) / uint64(size) }

// SegmentName is the name of a segment's file.
func SegmentName(tl ha.Timeline, number uint64, size int64) string {
	return fmt.Sprintf("%08X%08X%08X", uint32(tl), number/perLog(size), number%perLog(size))
}

// SegmentStart is the position at which the segment of this name begins.
func SegmentStart(name string, size int64) (ha.LSN, bool) {
	number, ok := segmentNumber(name, size)
	return ha.LSN(number * uint64(size)), ok
}

// Add counts what another reading has found as well.
func (r *WALReading) Add(o *WALReading) {
	r.End = max(r.End, o.End)
	r.Commits += o.Commits
	r.Prepared += o.Prepared
	if r.FirstCommit.IsZero() || !o.FirstCommit.IsZero() && o.FirstCommit.Before(r.FirstCommit) {
		r.FirstCommit = o.FirstCommit
	}
	if o.LastCommit.After(r.LastCommit) {
		r.LastCommit = o.LastCommit
	}
	for relation, n := range o.Records {
		r.Records = put(r.Records, relation, r.Records[relation]+n)
	}
	for relation := range o.Made {
		r.Made = put(r.Made, relation, true)
	}
}
