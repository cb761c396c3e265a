package storage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// database is a data directory with its WAL and a tablespace outside.
type database struct{ data, wal, space, marker string }

var spaceName = Tablespace(16385)

// newDatabase makes the old data; each directory holds a file that says so, and may be a mount point.
func newDatabase(t *testing.T, mounted bool) database {
	t.Helper()
	base := t.TempDir()
	d := database{filepath.Join(base, "data"), filepath.Join(base, "wal"), filepath.Join(base, "space"), filepath.Join(t.TempDir(), "marker")}
	for _, dir := range []string{d.data, d.wal, d.space} {
		must(t, os.Mkdir(dir, 0o700))
		if mounted {
			must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
			t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
			must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
		}
	}
	must(t, os.Mkdir(filepath.Join(d.data, "pg_tblspc"), 0o700))
	must(t, os.Symlink(d.wal, filepath.Join(d.data, WAL)))
	must(t, os.Symlink(d.space, filepath.Join(d.data, spaceName)))
	d.fill(t, "old")
	return d
}

// either runs a test with plain directories and with mount points.
func either(t *testing.T, test func(*testing.T, database)) {
	for name, mounted := range map[string]bool{"directories": false, "mount points": true} {
		t.Run(name, func(t *testing.T) { test(t, newDatabase(t, mounted)) })
	}
}

// entire says whether the data directory has all of one copy, or nothing.
func (d database) entire(t *testing.T) bool {
	t.Helper()
	names, err := Place{Dir: d.data}.content()
	must(t, err)
	_, marked, err := Marked(d.marker)
	must(t, err)
	return marked || len(names) == 0 || len(names) == 3
}

// fill writes through the links.
func (d database) fill(t *testing.T, text string) {
	t.Helper()
	for _, dir := range []string{d.data, d.wal, d.space} {
		write(t, filepath.Join(dir, "is"), text)
	}
}

func (d database) links() []Link { return []Link{{WAL, d.wal}, {spaceName, d.space}} }

// holds checks that a data directory and what it links to are all of one kind.
func holds(t *testing.T, data, want string) {
	t.Helper()
	for _, path := range []string{"is", WAL + "/is", spaceName + "/is"} {
		if got := read(t, filepath.Join(data, path)); got != want {
			t.Errorf("%s in %s holds %q, want %q", path, data, got, want)
		}
	}
}

// begin makes a new copy as pg_basebackup does, up to the swap.
func (d database) begin(t *testing.T) Copy {
	t.Helper()
	c, err := NewCopy(d.data, d.links(), d.marker)
	must(t, err)
	must(t, c.Prepare(0, 0))
	for _, p := range c.Places() {
		write(t, filepath.Join(p.Staging, "is"), "new")
	}
	must(t, os.Mkdir(filepath.Join(c.Staging, "pg_tblspc"), 0o700))
	must(t, os.Mkdir(filepath.Join(c.Staging, attic), 0o700)) // of a source that is a mount point
	for _, l := range c.Links {
		must(t, os.Symlink(l.Place.Staging, filepath.Join(c.Staging, l.Name)))
	}
	return c
}

func (d database) replace(t *testing.T, now time.Time) (kept string) {
	t.Helper()
	kept, err := d.begin(t).Swap(now)
	must(t, err)
	return kept
}

func TestSwapKeepsWhatItReplaces(t *testing.T) {
	either(t, func(t *testing.T, d database) {
		kept := d.replace(t, noon)
		holds(t, d.data, "new")
		holds(t, kept, "old")
		links, err := Links(d.data)
		must(t, err)
		if !slices.Equal(links, d.links()) {
			t.Errorf("the new copy links to %v, want %v", links, d.links())
		}
		if listed, err := Kept(d.data); err != nil || len(listed) != 1 || listed[0] != kept || Original(kept) != d.data {
			t.Errorf("Kept = %v, %v; want %s of %s", listed, err, kept, Original(kept))
		}
		must(t, Forget(d.data, 0))
		d.onlyNew(t)
	})
}

// onlyNew checks that there is nothing but a new copy.
func (d database) onlyNew(t *testing.T) {
	t.Helper()
	holds(t, d.data, "new")
	if left := names(t, filepath.Dir(d.data)); !slices.Equal(left, []string{"data", "space", "wal"}) {
		t.Errorf("left behind: %v", left)
	}
	for dir, want := range map[string][]string{d.data: {"is", "pg_tblspc", "pg_wal"}, d.wal: {"is"}, d.space: {"is"}} {
		left := slices.DeleteFunc(names(t, dir), func(name string) bool { return name == "lost+found" })
		if !slices.Equal(left, want) {
			t.Errorf("%s holds %v", dir, left)
		}
	}
	if work, marked, err := Marked(d.marker); marked || err != nil {
		t.Errorf("marked for %s, %v", work, err)
	}
}

func TestTheCopyOfAnEmptyDirectoryKeepsNothing(t *testing.T) {
	for _, made := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "data")
		if made {
			must(t, os.Mkdir(dir, 0o700))
		}
		c, err := NewCopy(dir, nil, filepath.Join(t.TempDir(), "marker"))
		must(t, err)
		must(t, c.Prepare(0, 0))
		write(t, filepath.Join(c.Staging, "PG_VERSION"), "new")
		kept, err := c.Swap(noon)
		if err != nil || kept != "" {
			t.Errorf("empty directory there: %t: Swap = %q, %v", made, kept, err)
		}
		read(t, filepath.Join(dir, "PG_VERSION"))
	}
}

// Wherever a swap is cut off, the old data are whole after the next one, and nothing could be started meanwhile.
func TestASwapCanBeCutOffAnywhere(t *testing.T) {
	type step struct {
		name string
		do   func(t *testing.T, d database, c Copy)
	}
	half := func(from, to string) {
		names, _ := entries(from)
		names = slices.DeleteFunc(names, func(n string) bool { return n == attic || n == "lost+found" })
		_ = moveAll(from, names[:(len(names)+1)/2], to)
	}
	inMount := func(do func(t *testing.T, d database, c Copy)) func(t *testing.T, d database, c Copy) {
		return func(t *testing.T, d database, c Copy) {
			if c.within {
				do(t, d, c)
			}
		}
	}
	mark := markOf(noon)
	steps := []step{
		{"a place for the old data is there", inMount(func(t *testing.T, _ database, c Copy) { must(t, c.beginMoving(mark)) })},
		{"the data directory is marked", inMount(func(t *testing.T, d database, c Copy) { must(t, c.beginSwap(mark)) })},
		{"the data directory is half aside", inMount(func(t *testing.T, _ database, c Copy) {
			moving, err := c.moving()
			must(t, err)
			half(c.Dir, moving)
		})},
		{"the data directory is aside", func(t *testing.T, _ database, c Copy) {
			_, err := c.displace(mark)
			must(t, err)
		}},
		{"the WAL is half aside", inMount(func(t *testing.T, d database, c Copy) {
			wal := c.Links[0].Place
			must(t, wal.beginMoving(mark))
			moving, err := wal.moving()
			must(t, err)
			half(wal.Dir, moving)
		})},
		{"the WAL is aside, but not linked", func(t *testing.T, d database, c Copy) {
			_, err := c.Links[0].Place.displace(mark)
			must(t, err)
		}},
		{"all that is old is aside", func(t *testing.T, d database, _ Copy) { must(t, releaseLinks(d.data)) }},
		{"the new WAL is there", func(t *testing.T, _ database, c Copy) { must(t, c.Links[0].put(c.Staging, mark)) }},
		{"the new tablespace is there, but not linked", func(t *testing.T, _ database, c Copy) { must(t, c.Links[1].Place.put()) }},
		{"the new data are half there", inMount(func(_ *testing.T, _ database, c Copy) { half(c.Staging, c.Dir) })},
	}
	for cut := range steps {
		t.Run(steps[cut].name, func(t *testing.T) {
			either(t, func(t *testing.T, d database) {
				c := d.begin(t)
				for _, step := range steps[:cut+1] {
					step.do(t, d, c)
				}
				if !d.entire(t) {
					t.Errorf("a part could be started: %v", names(t, d.data))
				}
				d.replace(t, noon.Add(time.Hour))
				kept, err := Kept(d.data)
				if err != nil || len(kept) != 1 {
					t.Fatalf("kept %v, %v", kept, err)
				}
				holds(t, kept[0], "old")
				must(t, Forget(d.data, 1))
				holds(t, kept[0], "old")
				must(t, Forget(d.data, 0))
				d.onlyNew(t)
			})
		})
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestAnInterruptedCopyIsClearedBeforeTheNext(t *testing.T) {
	d := newDatabase(t, false)
	d.begin(t)
	// The tablespace is dropped on the source meanwhile.
	c, err := NewCopy(d.data, d.links()[:1], d.marker)
	must(t, err)
	must(t, c.Prepare(0, 0))
	for _, p := range c.Places() {
		if left := names(t, p.Staging); len(left) > 0 {
			t.Errorf("%s still holds %v", p.Staging, left)
		}
	}
	if left := names(t, filepath.Dir(d.data)); slices.Contains(left, ".space.pgtwin-new") {
		t.Errorf("left behind: %v", left)
	}
	holds(t, d.data, "old")
}

func TestEachKeptCopyHasItsOwnDirectories(t *testing.T) {
	d := newDatabase(t, false)
	first := d.replace(t, noon)
	second := d.replace(t, noon.Add(time.Hour))
	holds(t, first, "old")
	holds(t, second, "new")
	must(t, Forget(d.data, 1))
	holds(t, second, "new")
	holds(t, d.data, "new")
	if left := names(t, filepath.Dir(d.data)); len(left) != 6 {
		t.Errorf("left: %v", left)
	}
}

func TestWhatCannotBeCopiedIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	d := newDatabase(t, false)
	for _, test := range []struct {
		name string
		link Link
		want string
	}{
		{"a tablespace in the data directory", Link{spaceName, filepath.Join(d.data, "space")}, "one is in the other"},
		{"a tablespace on a disk that is not there", Link{spaceName, filepath.Join(filepath.Dir(d.data), "missing", "space")}, "mount or make it"},
	} {
		c, err := NewCopy(d.data, []Link{test.link}, d.marker)
		if err == nil {
			err = c.Prepare(0, 0)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	holds(t, d.data, "old")
}

func TestALinkedDataDirectoryStaysOnItsDisk(t *testing.T) {
	base := t.TempDir()
	disk, link := filepath.Join(base, "disk"), filepath.Join(base, "link")
	write(t, filepath.Join(disk, "data", "is"), "old")
	must(t, os.Symlink(filepath.Join(disk, "data"), link))
	c, err := NewCopy(link, nil, filepath.Join(base, "marker"))
	must(t, err)
	must(t, c.Prepare(0, 0))
	write(t, filepath.Join(c.Staging, "is"), "new")
	kept, err := c.Swap(noon)
	must(t, err)
	if read(t, filepath.Join(link, "is")) != "new" || filepath.Dir(kept) != disk {
		t.Errorf("kept in %s, the link's directory holds %v", kept, names(t, disk))
	}
}

// onBtrfs is a directory on a btrfs file system of its own.
func onBtrfs(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	image, at := filepath.Join(base, "image"), filepath.Join(base, "btrfs")
	must(t, os.Mkdir(at, 0o755))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 256<<20))
	program(t, "mkfs.btrfs", "--quiet", image)
	program(t, "mount", "-o", "loop", image, at)
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	return at
}

func TestOnBtrfs(t *testing.T) {
	base := onBtrfs(t)
	data := filepath.Join(base, "data")
	must(t, makeSubvolume(data))
	write(t, filepath.Join(data, "is"), "old")

	snapshot, err := Snapshot(data, noon)
	must(t, err)
	write(t, filepath.Join(data, "is"), "rewound")
	if got := read(t, filepath.Join(snapshot, "is")); got != "old" {
		t.Errorf("the snapshot holds %q", got)
	}
	if err := os.WriteFile(filepath.Join(snapshot, "is"), nil, 0o600); err == nil {
		t.Error("the snapshot can be written")
	}

	c, err := NewCopy(data, nil, filepath.Join(base, "marker"))
	must(t, err)
	must(t, c.Prepare(0, 0))
	write(t, filepath.Join(c.Staging, "is"), "new")
	kept, err := c.Swap(noon.Add(time.Hour))
	must(t, err)
	if read(t, filepath.Join(data, "is")) != "new" || read(t, filepath.Join(kept, "is")) != "rewound" {
		t.Error("the copy is not in its place")
	}
	if !isSubvolume(data) {
		t.Error("the new copy of a subvolume is none")
	}
	must(t, Forget(data, 0))
	if left := names(t, base); !slices.Equal(left, []string{"data"}) {
		t.Errorf("left behind: %v", left)
	}
}

func TestASnapshotIsWholeOrNone(t *testing.T) {
	base := onBtrfs(t)
	d := database{data: filepath.Join(base, "data"), wal: filepath.Join(base, "wal"), space: filepath.Join(base, "space")}
	must(t, makeSubvolume(d.data))
	must(t, makeSubvolume(d.space))
	must(t, os.Mkdir(d.wal, 0o700))
	must(t, os.Mkdir(filepath.Join(d.data, "pg_tblspc"), 0o700))
	must(t, os.Symlink(d.wal, filepath.Join(d.data, WAL)))
	must(t, os.Symlink(d.space, filepath.Join(d.data, spaceName)))
	d.fill(t, "old")
	if kept, err := Snapshot(d.data, noon); kept != "" || err != nil {
		t.Errorf("a snapshot without the WAL: %q, %v", kept, err)
	}
	must(t, os.RemoveAll(d.wal))
	must(t, makeSubvolume(d.wal))
	d.fill(t, "old")
	kept, err := Snapshot(d.data, noon)
	must(t, err)
	d.fill(t, "rewound")
	holds(t, kept, "old")
	holds(t, d.data, "rewound")
	must(t, Forget(d.data, 0))
	if left := names(t, base); !slices.Equal(left, []string{"data", "space", "wal"}) {
		t.Errorf("left behind: %v", left)
	}
}

func TestSpaceIsCountedPerFileSystem(t *testing.T) {
	base := t.TempDir()
	small := filepath.Join(base, "small")
	must(t, os.Mkdir(small, 0o755))
	must(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { must(t, unix.Unmount(small, 0)) })
	a, b, elsewhere := filepath.Join(small, "a"), filepath.Join(small, "b", "yet"), filepath.Join(base, "c")
	must(t, CheckSpace([]Need{{a, 8 << 20}, {b, 7 << 20}, {elsewhere, 1 << 20}}))
	err := CheckSpace([]Need{{elsewhere, 1 << 20}, {a, 8 << 20}, {b, 9 << 20}})
	want := "cannot put " + a + " and " + b + " on " + small + ": 17 MB needed, 16 MB free"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
