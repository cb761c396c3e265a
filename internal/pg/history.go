package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pgtwin/internal/ha"
)

// markerReason is how our reservations are told from PostgreSQL's own history files.
const markerReason = "reserved by pgtwin"

// markerSwitch is where a reserved timeline claims to begin: so early that no standby would turn
// to it (rescanLatestTimeLine refuses a fork before its replay position), and not the invalid 0/0.
const markerSwitch = ha.LSN(1)

// ParseHistory reads the text of a timeline history file: one line per ancestor, with its number,
// the position at which it was left, and a reason in free text.
func ParseHistory(tl ha.Timeline, text string) (ha.History, error) {
	history := ha.History{Timeline: tl}
	var last ha.Timeline
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		parent, err := parseSwitch(fields)
		if err != nil {
			return ha.History{}, fmt.Errorf("cannot read the history of timeline %d: line %q: %w", tl, strings.TrimSpace(line), err)
		}
		if parent.Timeline <= last || parent.Timeline >= tl {
			return ha.History{}, fmt.Errorf("cannot read the history of timeline %d: ancestor %d is out of order", tl, parent.Timeline)
		}
		last = parent.Timeline
		history.Parents = append(history.Parents, parent)
	}
	return history, nil
}

func parseSwitch(fields []string) (ha.Switch, error) {
	if len(fields) < 2 {
		return ha.Switch{}, errors.New("a timeline and a position are expected")
	}
	number, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return ha.Switch{}, err
	}
	at, err := ha.ParseLSN(fields[1])
	return ha.Switch{Timeline: ha.Timeline(number), At: at}, err
}

// ReadHistory reads the history of a timeline from the data directory. Timeline 1 has no file and
// no ancestors; for any other a missing file is an error that is fs.ErrNotExist.
func ReadHistory(pgdata string, tl ha.Timeline) (ha.History, error) {
	if tl == 1 {
		return ha.History{Timeline: 1}, nil
	}
	text, err := os.ReadFile(historyFile(pgdata, tl))
	if err != nil {
		return ha.History{}, fmt.Errorf("cannot read the history of timeline %d: %w", tl, err)
	}
	return ParseHistory(tl, string(text))
}

func historyFile(pgdata string, tl ha.Timeline) string {
	return filepath.Join(pgdata, "pg_wal", fmt.Sprintf("%08X.history", tl))
}

// WriteMarkers reserves timeline numbers: PostgreSQL promotes to the number after the last history
// file in an unbroken row, so a standby on current skips ids. A history file that is there already
// does the same and stays.
//
// Write them directly before the promotion: in between, a restarted standby would refuse to start
// ("requested timeline is not a child of this server's history"), and RemoveMarkers is the remedy.
// After the promotion they must stay: a standby that comes later asks for each of them.
func WriteMarkers(pgdata string, current ha.History, ids []ha.Timeline) error {
	uid, gid, err := Owner(pgdata)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range current.Parents {
		fmt.Fprintf(&text, "%d\t%s\t%s\n", p.Timeline, p.At, "ancestor")
	}
	fmt.Fprintf(&text, "%d\t%s\t%s\n", current.Timeline, markerSwitch, markerReason)
	for _, id := range ids {
		if id <= current.Timeline {
			return fmt.Errorf("cannot reserve timeline %d: the current one is %d", id, current.Timeline)
		}
		path := historyFile(pgdata, id)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := replaceFile(path, []byte(text.String()), 0o600, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// RemoveMarkers removes our reservations that a crash between WriteMarkers and the promotion left
// behind: those with a number above the timeline the data files have reached (Control.Reached) on
// which no history of PostgreSQL's own follows. Where one follows, the promotion took place, and
// PostgreSQL finds its timeline only through the unbroken row. Call it before every start.
func RemoveMarkers(pgdata string, above ha.Timeline) (removed []ha.Timeline, err error) {
	histories, err := historyIDs(pgdata)
	if err != nil {
		return nil, err
	}
	for i := len(histories) - 1; i >= 0 && histories[i] > above; i-- { // newest first
		ours, err := isMarker(historyFile(pgdata, histories[i]))
		if err != nil {
			return removed, err
		}
		if !ours {
			break
		}
		if err := os.Remove(historyFile(pgdata, histories[i])); err != nil {
			return removed, fmt.Errorf("cannot remove a timeline reservation: %w", err)
		}
		removed = append(removed, histories[i])
	}
	if removed == nil {
		return nil, nil
	}
	return removed, syncDir(filepath.Join(pgdata, "pg_wal"))
}

// historyIDs are the timelines that have a history file, in ascending order.
func historyIDs(pgdata string) ([]ha.Timeline, error) {
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_wal")) // sorted by name, which is the number in hexadecimal
	if err != nil {
		return nil, fmt.Errorf("cannot list timelines: %w", err)
	}
	var ids []ha.Timeline
	for _, e := range entries {
		number, isHistory := strings.CutSuffix(e.Name(), ".history")
		id, err := strconv.ParseUint(number, 16, 32)
		if isHistory && err == nil && len(number) == 8 {
			ids = append(ids, ha.Timeline(id))
		}
	}
	return ids, nil
}

func isMarker(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read a timeline's history: %w", err)
	}
	return strings.HasSuffix(strings.TrimSpace(string(text)), markerReason), nil
}

// ReplayedHistory is the history of the timeline that a standby has reached,
// also when it does not stream. The control file alone is out of date: it
// learns of a new timeline at the next restart point (xlog.c,
// UpdateMinRecoveryPoint). So the newest timeline counts of which there is WAL
// here, that goes through the point the control file names, and whose
// beginning has been replayed.
func ReplayedHistory(pgdata string, replayed ha.LSN) (ha.History, error) {
	c, err := ReadControl(pgdata)
	if err != nil {
		return ha.History{}, err
	}
	certain := ha.Switch{Timeline: c.Timeline, At: c.Checkpoint}
	if c.MinRecovery > 0 {
		certain = ha.Switch{Timeline: c.MinRecoveryTimeline, At: c.MinRecovery}
	}
	timelines, err := walTimelines(pgdata)
	if err != nil {
		return ha.History{}, err
	}
	for _, tl := range slices.Backward(timelines) {
		if tl <= certain.Timeline {
			break
		}
		h, err := ReadHistory(pgdata, tl)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ha.History{}, err
		}
		if h.Contains(certain.Timeline, certain.At) && replayed >= h.Parents[len(h.Parents)-1].At {
			return h, nil
		}
	}
	return ReadHistory(pgdata, certain.Timeline)
}

// walTimelines are the timelines of which there are WAL segments, ascending.
func walTimelines(pgdata string) ([]ha.Timeline, error) {
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_wal"))
	if err != nil {
		return nil, fmt.Errorf("cannot see which timelines there is WAL of: %w", err)
	}
	var found []ha.Timeline
	for _, e := range entries {
		const digits = 24 // timeline, log and segment (xlog_internal.h, XLogFileName)
		if len(e.Name()) != digits {
			continue
		}
		if tl, err := strconv.ParseUint(e.Name()[:8], 16, 32); err == nil {
			found = append(found, ha.Timeline(tl))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}
