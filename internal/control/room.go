package control

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// leastRoom is how many bytes a file system has to have free for pgtwin's own small files.
const leastRoom = 64 << 10

// NoRoom adds to an error that comes of a full file system which one that is, and what to do. Other errors
// are returned as they are, and nil too.
func NoRoom(err error) error {
	var at *fs.PathError
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) || !errors.As(err, &at) {
		return err
	}
	dir := filepath.Dir(at.Path)
	return fmt.Errorf("%w: the file system of %s is full: delete what is not needed there (df -h %[2]s, df -i %[2]s)", err, dir)
}

// Full says in words that the file system of a directory of pgtwin's has no room, "" where it has some or
// cannot be asked. The directory need not be there yet.
func Full(dir string) string {
	var disk unix.Statfs_t
	err := unix.Statfs(dir, &disk)
	for up := filepath.Dir(dir); errors.Is(err, unix.ENOENT) && up != dir; dir, up = up, filepath.Dir(up) {
		err = unix.Statfs(up, &disk)
	}
	what := ""
	switch {
	case err != nil:
		return ""
	case disk.Blocks > 0 && disk.Bfree*uint64(disk.Bsize) < leastRoom: // 0 blocks: tmpfs without a limit
		what = Size(int64(disk.Blocks) * disk.Bsize)
	case disk.Files > 0 && disk.Ffree == 0:
		what = fmt.Sprintf("%d inodes", disk.Files)
	default:
		return ""
	}
	return fmt.Sprintf("the file system of %s is full (%s): pgtwin cannot write its files there, and a start of PostgreSQL on this host fails; "+
		"delete what is not needed (df -h %[1]s, df -i %[1]s)", dir, what)
}
