package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// small is a file system of its own.
func small(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes until there is no room.
func fill(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "much"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func TestAFullFileSystemIsNamed(t *testing.T) {
	dir := small(t, "size=256k")
	status := filepath.Join(dir, "status.json")
	missing := filepath.Join(dir, "pgtwin", "db")
	if text := Full(missing); text != "" {
		t.Errorf("with room: %s", text)
	}
	if err := NoRoom(WriteJSON(status, "x", 0o600)); err != nil {
		t.Error(err)
	}
	fill(t, dir)
	if text := Full(missing); !strings.HasPrefix(text, "the file system of "+dir+" is full (256 kB): ") || !strings.Contains(text, "df -h "+dir+", ") {
		t.Errorf("without room: %q", text)
	}
	err := NoRoom(WriteJSON(status, strings.Repeat("x", 9000), 0o600))
	if !errors.Is(err, unix.ENOSPC) || !strings.HasSuffix(err.Error(), ": the file system of "+dir+" is full: delete what is not needed there (df -h "+dir+", df -i "+dir+")") {
		t.Errorf("error %v", err)
	}
}

func TestAFileSystemWithoutInodesIsFull(t *testing.T) {
	dir := small(t, "nr_inodes=2")
	if text := Full(dir); text != "" {
		t.Errorf("with an inode: %s", text)
	}
	if err := os.WriteFile(filepath.Join(dir, "last"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if text := Full(dir); !strings.Contains(text, "is full (2 inodes)") {
		t.Errorf("without inodes: %q", text)
	}
}

func TestOtherErrorsStayAsTheyAre(t *testing.T) {
	_, err := os.Open("/nonexistent/file")
	if NoRoom(err) != err || NoRoom(nil) != nil || Full("/nonexistent/directory") != Full("/") {
		t.Errorf("%v became %v", err, NoRoom(err))
	}
}
