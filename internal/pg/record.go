package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pgtwin/internal/ha"
)

// recordLimit is the largest size of a record (XLogRecordMaxSize in xlogrecord.h), walHeader the smallest.
const recordLimit = 1 << 30

// WholeRecord says whether the WAL of a timeline that had been received up to a position has a whole
// record at another one, where a record ends. The beginning of a record that was not received to its
// end is nothing that a commit has waited for.
func WholeRecord(pgdata string, tl ha.Timeline, at, received ha.LSN) (bool, error) {
	control, err := ReadControl(pgdata)
	if err != nil {
		return false, err
	}
	at = (at + recordAlignment - 1) &^ (recordAlignment - 1)
	if at%walPage == 0 {
		at += ha.LSN(pageHeader(at, control.SegmentSize))
	}
	if at >= received {
		return false, nil
	}
	length, err := recordLength(pgdata, tl, at, control.SegmentSize)
	if err != nil || length < walHeader || length > recordLimit { // zeroes, or what is left of a recycled segment
		return false, err
	}
	return endOfRecord(at, length, control.SegmentSize) <= received, nil
}

// recordLength reads xl_tot_len (xlogrecord.h), 0 where the segment is not there: then nothing of this
// timeline was received there. With an archive, the last segment is renamed at the end of recovery
// (CleanupAfterArchiveRecovery in xlog.c).
func recordLength(pgdata string, tl ha.Timeline, at ha.LSN, segment int64) (int64, error) {
	path := filepath.Join(pgdata, "pg_wal", SegmentName(tl, uint64(at)/uint64(segment), segment))
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = os.Open(path + ".partial")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read WAL: %w", err)
	}
	defer file.Close()
	var length [4]byte
	if _, err := file.ReadAt(length[:], int64(at)%segment); err != nil {
		return 0, fmt.Errorf("cannot read WAL: %w", err)
	}
	return int64(binary.NativeEndian.Uint32(length[:])), nil
}
