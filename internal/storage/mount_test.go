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
	must(t, NoteMounts(note, data))
	if was := missing(data); was != "" {
		t.Errorf("%s is missed although it is mounted", was)
	}
	outside := filepath.Join(base, "outside")
	must(t, NoteMounts(note, outside, data))
	if was := missing(outside); was != "" {
		t.Errorf("%s is missed, which is the one of another directory", was)
	}
	must(t, unix.Unmount(disk, 0))
	if was, err := UnmountedLink(note, data); was != disk || err != nil {
		t.Errorf("%q is missed for a directory outside, want %s; %v", was, disk, err)
	}
	if was, err := UnmountedLink(note, outside); was != "" || err != nil {
		t.Errorf("%q is missed for a directory that nothing is noted of; %v", was, err)
	}
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, ""))
	must(t, NoteMounts(note, data))
	must(t, unix.Unmount(disk, 0))
	mounted = false
	if was := missing(data); was != disk {
		t.Errorf("%q is missed, want %s", was, disk)
	}
	must(t, NoteMounts(note, data))
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
