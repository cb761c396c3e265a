package storage

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAMissingFileSystemIsNoticed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("mounting needs root")
	}
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	disk, note := filepath.Join(base, "disk"), filepath.Join(base, "note")
	must(t, os.Mkdir(disk, 0o755))
	link := filepath.Join(base, "link")
	must(t, os.Symlink(disk, link))

	missing := func(dir string) string {
		t.Helper()
		was, err := Unmounted(note, dir)
		must(t, err)
		return was
	}
	data := filepath.Join(link, "data")
	if was := missing(data); was != "" {
		t.Errorf("nothing is noted, but %s is missed", was)
	}
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, ""))
	mounted := true
	t.Cleanup(func() {
		if mounted {
			must(t, unix.Unmount(disk, 0))
		}
	})
	must(t, os.Mkdir(data, 0o755))
	must(t, NoteMount(note, data))
	if was := missing(data); was != "" {
		t.Errorf("%s is missed although it is mounted", was)
	}
	must(t, unix.Unmount(disk, 0))
	mounted = false
	if was := missing(data); was != disk {
		t.Errorf("%q is missed, want %s", was, disk)
	}
	must(t, NoteMount(note, data))
	if was := missing(data); was != "" {
		t.Errorf("%s is missed after data were put without it", was)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func program(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}
