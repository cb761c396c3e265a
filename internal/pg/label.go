package pg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"pgtwin/internal/ha"
)

// Label is a backup_label: from where the recovery of a copy begins (build_backup_content of xlogbackup.c,
// pg_start_backup of PostgreSQL 14).
type Label struct {
	Start     ha.LSN      // START WAL LOCATION
	Check     ha.LSN      // CHECKPOINT LOCATION
	Timeline  ha.Timeline // START TIMELINE
	Exclusive bool        // BACKUP METHOD: pg_start_backup, which PostgreSQL 14 has as the last one
	Standby   bool        // BACKUP FROM: standby
}

const backupLabel = "backup_label"

// labelSize is larger than any label: its free text is at most MAXPGPATH.
const labelSize = 16 << 10

// ReadLabel reads the backup_label of a data directory. nil: there is none.
func ReadLabel(pgdata string) (*Label, error) {
	path := filepath.Join(pgdata, backupLabel)
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, labelSize))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	l := parseLabel(string(text))
	return &l, nil
}

func parseLabel(text string) (l Label) {
	field := func(pattern string) string {
		if m := regexp.MustCompile("(?m)^" + pattern).FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	l.Start, _ = ha.ParseLSN(field(`START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) \(file [0-9A-F]{24}\)$`))
	l.Check, _ = ha.ParseLSN(field(`CHECKPOINT LOCATION: ([0-9A-F]+/[0-9A-F]+)$`))
	tl, _ := strconv.ParseUint(field(`START TIMELINE: ([0-9]+)$`), 10, 32)
	l.Timeline = ha.Timeline(tl)
	l.Exclusive = field(`BACKUP METHOD: (.*)$`) == "pg_start_backup"
	l.Standby = strings.TrimSpace(field(`BACKUP FROM: (.*)$`)) != "primary"
	return l
}

// exclusiveUntil is the last major version that has exclusive backups.
const exclusiveUntil = 14

// Undecided says whether a primary's data may be those of a server that crashed in place during an exclusive
// backup, or a copy that such a backup made. The same files are in both, but what has to be done is not the
// same: with backup_label the first never ends its recovery as a standby, without it the second is corrupt.
func (l Label) Undecided(c Control, major int) bool {
	return major <= exclusiveUntil && l.Exclusive && !l.Standby && c.State == InProduction
}
