package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Refusals that tell of a server's state, and not that it serves (manual, "PostgreSQL Error Codes").
const (
	adminShutdown    = "57P01"
	crashShutdown    = "57P02"
	cannotConnectNow = "57P03"
)

// Serves says whether an error is the answer of a server that is up. One that starts, that shuts down,
// or that takes no connections in its state, answers, too, but that proves nothing: it may do so for
// ever.
func Serves(err error) bool {
	_, answered := Answered(err)
	return answered && !Interrupted(err)
}

// Interrupted says whether a server ended or refused a session because the server starts or shuts down.
func Interrupted(err error) bool {
	code, answered := Answered(err)
	return answered && (code == adminShutdown || code == crashShutdown || code == cannotConnectNow)
}

// RefusesAll says whether the server answered that it takes no connections in its present state.
func RefusesAll(err error) bool { return hasCode(err, cannotConnectNow) }

// Pulse is what of a data directory changes while its server writes WAL. Two that are equal say
// nothing: a server without work writes none.
type Pulse struct {
	Written time.Time // newest change of a WAL segment
	Size    int64     // of the segment that was changed last, bytes
	Control Control
}

// ReadPulse reads the pulse. It hangs where the disk does.
func ReadPulse(pgdata string) (p Pulse, err error) {
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_wal"))
	if err != nil {
		return p, fmt.Errorf("cannot see whether WAL is written: %w", err)
	}
	for _, e := range entries {
		if len(e.Name()) != 24 { // of a segment
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // recycled meanwhile
			continue
		}
		if err != nil {
			return p, fmt.Errorf("cannot see whether WAL is written: %w", err)
		}
		if info.ModTime().After(p.Written) {
			p.Written, p.Size = info.ModTime(), info.Size()
		}
	}
	p.Control, err = ReadControl(pgdata)
	return p, err
}
