package instance

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

func TestTheRateIsThatOfLate(t *testing.T) {
	const mb = 1 << 20
	began := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	var p pace
	for _, step := range []struct {
		name   string
		second int
		done   int64
		want   int64
	}{
		{"not known at first", 0, 0, 0},
		{"nor from one moment", 0, mb, 0},
		{"from the beginning", 10, 100 * mb, 10 * mb},
		{"a stall shows", 20, 100 * mb, 99 * mb / 20},
		{"and is forgotten", 40, 300 * mb, 10 * mb},
		{"what began anew has its own", 41, mb, 0},
		{"from there", 43, 5 * mb, 2 * mb},
	} {
		if got := p.rate(step.done, began.Add(time.Duration(step.second)*time.Second)); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
}

func TestRoomIsNeededWhereThePartsGo(t *testing.T) {
	const gb = 1 << 30
	base := t.TempDir()
	data, wal, space := filepath.Join(base, "data"), filepath.Join(base, "wal"), filepath.Join(base, "space")
	extent := pg.Extent{Main: 20 * gb, WAL: gb, Tablespaces: []pg.Tablespace{{OID: 7, Location: space, Size: 40 * gb}}}
	tablespace := storage.Link{Name: storage.Tablespace(7), Dir: space}
	for _, test := range []struct {
		name  string
		links []storage.Link
		want  []storage.Need
	}{
		{"WAL in the data directory", []storage.Link{tablespace}, []storage.Need{{Dir: data, Bytes: 22*gb + growthLeast}, {Dir: space, Bytes: 42 * gb}}},
		{"WAL outside", []storage.Link{{Name: storage.WAL, Dir: wal}, tablespace},
			[]storage.Need{{Dir: data, Bytes: 21*gb + growthLeast}, {Dir: wal, Bytes: gb}, {Dir: space, Bytes: 42 * gb}}},
	} {
		c, err := storage.NewCopy(data, test.links, "")
		must(t, err)
		if got := needs(c, extent); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestWithoutRoomNothingIsBegun(t *testing.T) {
	a, programs := arrive(t, epochOf(t, "h1"), startPrimary(t))
	small := t.TempDir()
	must(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=70m"))
	t.Cleanup(func() { must(t, unix.Unmount(small, 0)) })
	a.Instance.PGData = filepath.Join(small, "data")
	a.withData(t)
	err := a.clone(t.Context(), ha.Arrival{Epoch: epochOf(t, "h1")}, "a test")
	var short *storage.Shortage
	if !errors.As(err, &short) || !strings.Contains(err.Error(), " MB more room, or move away what is not needed") || len(programs.ran) > 0 {
		t.Errorf("ran %v, error %v", programs.ran, err)
	}
	if systemOf(t, a.Instance.PGData) != systemOf(t, template) {
		t.Error("the old data are gone")
	}
	// The source is not asked again while nothing changes here.
	if again := a.clone(t.Context(), ha.Arrival{Epoch: ha.Epoch{Node: "nobody"}}, "a test"); again == nil || again.Error() != err.Error() {
		t.Errorf("the second time: %v", again)
	}
	must(t, unix.Mount("tmpfs", small, "tmpfs", unix.MS_REMOUNT, "size=700m"))
	must(t, a.clone(t.Context(), ha.Arrival{Epoch: epochOf(t, "h1")}, "a test"))
}

func TestAFailedCopyLeavesItsRoom(t *testing.T) {
	a, programs := arrive(t, epochOf(t, "h1"), startPrimary(t))
	programs.fail = "pg_verifybackup"
	if err := a.clone(t.Context(), ha.Arrival{Epoch: epochOf(t, "h1")}, "a test"); err == nil {
		t.Error("a copy that is not verified was taken")
	}
	if left, err := os.ReadDir(filepath.Dir(a.Instance.PGData)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAFailureSaysWhenItIsTriedAgain(t *testing.T) {
	a, _ := arrive(t, ha.Epoch{}, 1)
	must(t, a.reportFailure(ha.Plan{Course: ha.Clone}, 30, errors.New("the disk is full")))
	var p control.Progress
	must(t, control.ReadJSON(config.ProgressFile(a.Instance.Name), &p))
	if want := "the clone failed, attempt 31 follows in 15s: the disk is full"; p.Phase != control.PhaseWaiting || p.Detail != want {
		t.Errorf("%s: %s, want %s", p.Phase, p.Detail, want)
	}
}

func TestProgramsSeeEveryDirectoryOnce(t *testing.T) {
	base := t.TempDir()
	at := func(elem ...string) string { return filepath.Join(append([]string{base}, elem...)...) }
	for _, dir := range []string{at("data", "pg_tblspc"), at("spaces", "fast"), at("wal"), at("archive"), at("disk"), at("staging")} {
		must(t, os.MkdirAll(dir, 0o700))
	}
	must(t, os.Symlink(at("wal"), at("data", "pg_wal")))
	must(t, os.Symlink(at("spaces", "fast"), at("data", "pg_tblspc", "1")))
	must(t, os.Symlink(at("gone"), at("data", "pg_tblspc", "2")))
	must(t, os.Symlink(at("disk"), at("spaces", "elsewhere")))
	must(t, os.Symlink(at("spaces", "elsewhere"), at("data", "pg_tblspc", "3")))
	a := Activation{Instance: config.Instance{PGData: at("data"), ContainerDirs: []string{at("spaces"), at("archive")}}}
	got, err := a.visible([]string{at("staging")})
	must(t, err)
	want := []string{at("archive"), at("data"), at("spaces"), at("spaces", "elsewhere"), at("staging"), at("wal")}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDirectoriesOfAContainerHaveToBeThere(t *testing.T) {
	i := config.Instance{ContainerMode: true, ContainerDirs: []string{t.TempDir(), "/nonexistent/archive"}}
	var failure *Failure
	if err := checkDirectories(i); !errors.As(err, &failure) || failure.Code != ocf.ErrInstalled || !strings.Contains(err.Error(), "/nonexistent/archive, one of container_dirs") {
		t.Errorf("got %v", err)
	}
	i.ContainerMode = false
	must(t, checkDirectories(i))
}

// A clone that is interrupted between the old data and the new ones leaves no data directory to tell the owner and the
// place of the WAL.
func TestTheKeptDataTellWhatTheMissingOnesWere(t *testing.T) {
	base := t.TempDir()
	data, wal := filepath.Join(base, "data"), filepath.Join(base, "wal")
	kept := data + ".replaced-20260102T120000"
	must(t, os.Mkdir(kept, 0o700))
	must(t, os.Symlink(wal+".replaced-20260102T120000", filepath.Join(kept, "pg_wal")))
	must(t, os.Chown(kept, 4242, 4242))
	found, err := dataOwner(config.Instance{PGData: data, User: "nobody-here", ContainerMode: true})
	if err != nil || found.uid != 4242 {
		t.Errorf("owner %+v, %v", found, err)
	}
	a := Activation{Instance: config.Instance{PGData: data}}
	links, err := a.ownWAL()
	if err != nil || len(links) != 1 || links[0] != (storage.Link{Name: storage.WAL, Dir: wal}) {
		t.Errorf("links %v, %v", links, err)
	}
}

func TestATablespaceThatIsNotMountedIsNoticed(t *testing.T) {
	a, _ := arrive(t, epochOf(t, "h1"), 1)
	a.withData(t)
	disk := t.TempDir()
	absent := func() string {
		t.Helper()
		var arrival ha.Arrival
		must(t, a.lookAtData(&arrival))
		return arrival.Absent
	}
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, ""))
	must(t, os.Mkdir(filepath.Join(disk, "space"), 0o700))
	must(t, os.Symlink(filepath.Join(disk, "space"), filepath.Join(a.Instance.PGData, "pg_tblspc", "1")))
	must(t, a.noteMounts())
	if was := absent(); was != "" {
		t.Errorf("%s is missed although it is mounted", was)
	}
	must(t, unix.Unmount(disk, 0))
	if was := absent(); was != disk {
		t.Errorf("%q is missed, want %s", was, disk)
	}
}
