package pg

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgtwin/internal/ha"
)

// controldata is what PostgreSQL's own program says.
func controldata(t *testing.T, pgdata string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(run(t, []string{"pg_controldata", pgdata})) {
		name, value, _ := strings.Cut(line, ":")
		values[name] = strings.TrimSpace(value)
	}
	return values
}

func compareControl(t *testing.T, pgdata string) Control {
	t.Helper()
	c, err := ReadControl(pgdata)
	must(t, err)
	want := controldata(t, pgdata)
	number := func(tl ha.Timeline) string { return strconv.Itoa(int(tl)) }
	got := map[string]string{
		"Database system identifier":         strconv.FormatUint(c.System, 10),
		"pg_control version number":          strconv.Itoa(c.Version),
		"Database cluster state":             c.State.String(),
		"Latest checkpoint location":         c.Checkpoint.String(),
		"Latest checkpoint's REDO location":  c.Redo.String(),
		"Latest checkpoint's TimeLineID":     number(c.Timeline),
		"Minimum recovery ending location":   c.MinRecovery.String(),
		"Min recovery ending loc's timeline": number(c.MinRecoveryTimeline),
		"wal_log_hints setting":              map[bool]string{true: "on", false: "off"}[c.WALLogHints],
		"Data page checksum version":         map[bool]string{true: "1", false: "0"}[c.Checksums],
		"Bytes per WAL segment":              strconv.FormatInt(c.SegmentSize, 10),
	}
	for name, value := range got {
		if w, known := want[name]; !known || w != value {
			t.Errorf("%s: got %s, pg_controldata says %q", name, value, w)
		}
	}
	return c
}

func TestControlSaysWhatPgControldataSays(t *testing.T) {
	if c := compareControl(t, template); c.State != ShutDown || !c.Checksums || c.WALLogHints || !c.CleanlyStopped() {
		t.Errorf("fresh database: %+v", c)
	}
}

func TestControlOfATornOrForeignFileIsRefused(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(template, "global", "pg_control"))
	must(t, err)
	withVersion := func(v uint32) []byte {
		content := append([]byte(nil), good...)
		binary.NativeEndian.PutUint32(content[atVersion:], v)
		atCRC, _ := crcAt(v)
		binary.NativeEndian.PutUint32(content[atCRC:], crc32.Checksum(content[:atCRC], crc32.MakeTable(crc32.Castagnoli)))
		return content
	}
	torn := append([]byte(nil), good...)
	torn[atRedo]++
	for _, c := range []struct {
		name, want string
		content    []byte
	}{
		{"torn", "checksum is wrong", torn},
		{"short", "it has 100 bytes", good[:100]},
		{"PostgreSQL 12", "version 1201 is not known", withVersion(1201)},
		{"newer than 18", "version 1900 is not known", withVersion(1900)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "global"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "global", "pg_control"), c.content, 0o600))
			if _, err := ReadControl(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, v := range []uint32{1300, 1700, 1800} {
		if c, err := parseControl(withVersion(v)); err != nil || c.Version != int(v) {
			t.Errorf("version %d: %+v, %v", v, c, err)
		}
	}
}
