package pg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgtwin/internal/ha"
)

func TestParseHistory(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name    string
		text    string
		parents []ha.Switch
		fault   string
	}{
		{"as PostgreSQL writes it", "1\t0/30000A0\tno recovery target specified\n\n2\t1/4\tno recovery target specified\n",
			[]ha.Switch{{Timeline: 1, At: 0x30000A0}, {Timeline: 2, At: 1<<32 | 4}}, ""},
		{"comments and a line without end", "# 1\n  # x\n 1 0/1 " + long, []ha.Switch{{Timeline: 1, At: 1}}, ""},
		{"empty", "", nil, ""},
		{"no position", "1\n", nil, "position"},
		{"no number", "x\t0/1\n", nil, `"x"`},
		{"not ascending", "2\t0/1\n1\t0/2\n", nil, "out of order"},
		{"later than itself", "5\t0/1\n", nil, "out of order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := ParseHistory(5, c.text)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got %v, want %q", err, c.fault)
				}
				return
			}
			if want := (ha.History{Timeline: 5, Parents: c.parents}); err != nil || !reflect.DeepEqual(h, want) {
				t.Errorf("got %+v, %v", h, err)
			}
		})
	}
}

func TestTimelineOneHasNoHistoryFile(t *testing.T) {
	if h, err := ReadHistory(t.TempDir(), 1); err != nil || h.Timeline != 1 || h.Parents != nil {
		t.Error(h, err)
	}
	if _, err := ReadHistory(t.TempDir(), 2); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMarkers(t *testing.T) {
	const ours, theirs = "1\t0/1\treserved by pgtwin\n", "1\t0/3000000\tno recovery target specified\n"
	for _, c := range []struct {
		name    string
		files   map[string]string
		above   ha.Timeline
		removed []ha.Timeline
	}{
		{"a crash before the promotion left them", map[string]string{"00000002.history": ours, "00000003.history": ours}, 1, []ha.Timeline{3, 2}},
		{"the promotion went through", map[string]string{"00000002.history": ours}, 3, nil},
		{"a history of PostgreSQL's own builds on them", map[string]string{"00000002.history": ours, "00000003.history": theirs}, 1, nil},
		{"only the newest are in doubt", map[string]string{"00000002.history": theirs, "00000003.history": ours}, 1, []ha.Timeline{3}},
		{"numbers are hexadecimal", map[string]string{"0000000F.history": theirs, "00000010.history": ours}, 15, []ha.Timeline{16}},
		{"other files", map[string]string{"000000010000000000000001": ours, "x.history": ours, "00000002.history.backup": ours}, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "pg_wal"), 0o700))
			for name, text := range c.files {
				must(t, os.WriteFile(filepath.Join(dir, "pg_wal", name), []byte(text), 0o600))
			}
			removed, err := RemoveMarkers(dir, c.above)
			if err != nil || !slices.Equal(removed, c.removed) {
				t.Errorf("removed %v, %v", removed, err)
			}
			left, err := os.ReadDir(filepath.Join(dir, "pg_wal"))
			must(t, err)
			if len(left) != len(c.files)-len(c.removed) {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestMarkersDoNotReplaceAHistory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "pg_wal"), 0o700))
	path := filepath.Join(dir, "pg_wal", "00000003.history")
	must(t, os.WriteFile(path, []byte("1\t0/3000000\treal\n"), 0o600))
	current := ha.History{Timeline: 2, Parents: []ha.Switch{{Timeline: 1, At: 0x3000000}}}
	must(t, WriteMarkers(dir, current, []ha.Timeline{3, 4}))
	if text, _ := os.ReadFile(path); string(text) != "1\t0/3000000\treal\n" {
		t.Errorf("replaced by %q", text)
	}
	h, err := ReadHistory(dir, 4)
	must(t, err)
	if want := (ha.History{Timeline: 4, Parents: []ha.Switch{{Timeline: 1, At: 0x3000000}, {Timeline: 2, At: 1}}}); !reflect.DeepEqual(h, want) {
		t.Errorf("marker %+v", h)
	}
	if err := WriteMarkers(dir, current, []ha.Timeline{2}); err == nil {
		t.Error("reserved the current timeline")
	}
}

// A standby that followed its primary to timeline 5 a moment ago: the control
// file still names timeline 3.
func TestReplayedHistoryIsNotThatOfTheControlFile(t *testing.T) {
	s := newServer(t, "replayed", template)
	c, err := ReadControl(s.data)
	must(t, err)
	at := c.Checkpoint + 0x100
	wal := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(s.data, "pg_wal", name), []byte(text), 0o600))
	}
	wal("00000003.history", "1\t"+at.String()+"\tno recovery target specified\n")
	wal("00000005.history", "1\t"+at.String()+"\tx\n3\t"+(at+0x100).String()+"\tx\n")
	wal("00000006.history", "1\t0/1\tof another branch\n")
	for _, segment := range []string{"000000030000000000000001", "000000050000000000000001", "000000060000000000000001"} {
		wal(segment, "")
	}
	for replayed, want := range map[ha.LSN]ha.Timeline{at - 1: 1, at: 3, at + 0xFF: 3, at + 0x100: 5, at + 0x1000: 5} {
		h, err := ReplayedHistory(s.data, replayed)
		if err != nil || h.Timeline != want {
			t.Errorf("replayed to %s: timeline %d, %v; want %d", replayed, h.Timeline, err, want)
		}
	}
}
