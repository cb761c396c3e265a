package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity is whose rights count in the file system (credentials(7)).
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary ones
}

// ReadAs reads a regular file of at most limit bytes as a user may, as the kernel sees it: access control
// lists and the directories above count. What an owner of a data directory has linked there to is never
// read with more rights than the owner's. Without root's rights they are the caller's.
func ReadAs(path string, as Identity, limit int64) ([]byte, error) {
	file, err := openAs(path, as)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no regular file of at most %d MB", path, limit>>20)
	}
	return io.ReadAll(io.LimitReader(file, limit))
}

// ListAs lists a directory as ReadAs reads a file.
func ListAs(path string, as Identity) ([]string, error) {
	dir, err := openAs(path, as)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// openAs opens on a thread that is given up with its identity: setfsuid(2) and setgroups(2), as system
// calls, are of one thread.
func openAs(path string, as Identity) (file *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = become(as); err != nil {
			err = fmt.Errorf("cannot look at %s as user %d: %w", path, as.UID, err)
			return
		}
		file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}()
	<-done
	return file, err
}

func become(as Identity) error {
	if os.Geteuid() != 0 {
		return nil
	}
	first := unsafe.Pointer(unsafe.SliceData(as.Groups))
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(as.Groups)), uintptr(first), 0); errno != 0 {
		return errno
	}
	return errors.Join(unix.Setfsgid(int(as.GID)), unix.Setfsuid(int(as.UID)))
}

// maxLinks is how many symbolic links are followed (path_resolution(7)).
const maxLinks = 40

// Within says whether who sees nothing but these directories can follow path, its symbolic links
// included, to what it names.
func Within(path string, dirs []string) bool {
	seen := func(path string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
	}
	for range maxLinks {
		if !seen(path) {
			return false
		}
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = filepath.Clean(to)
	}
	found, err := filepath.EvalSymlinks(path)
	if err != nil {
		return true // missing is not invisible
	}
	return seen(found) || slices.ContainsFunc(dirs, func(dir string) bool {
		there, err := filepath.EvalSymlinks(dir)
		return err == nil && within(found, there) && strings.HasPrefix(path, dir)
	})
}
