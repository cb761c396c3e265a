package storage

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Need is what a directory, which need not be there yet, is to hold.
type Need struct {
	Dir   string
	Bytes int64
}

// Shortage is an error that says which file system has too little room.
type Shortage struct {
	Mount string   // where it is mounted
	Dirs  []string // what is to be put there
	Need  int64    // bytes
	Free  int64    // bytes
}

func (s *Shortage) Error() string {
	return fmt.Sprintf("cannot put %s on %s: %s needed, %s free", strings.Join(s.Dirs, " and "), s.Mount, megabytes(s.Need), megabytes(s.Free))
}

// Missing is how many bytes have to be freed.
func (s *Shortage) Missing() int64 { return s.Need - s.Free }

// megabytes is rounded, so that a message that is repeated stays the same for a while.
func megabytes(bytes int64) string { return fmt.Sprintf("%d MB", (bytes+1<<20-1)>>20) }

// CheckSpace returns a Shortage where a file system has not enough room for
// all that is to be put there.
func CheckSpace(needs []Need) error {
	short := map[uint64]*Shortage{}
	var order []uint64
	for _, n := range needs {
		at, err := mountOf(n.Dir)
		if err != nil {
			return err
		}
		// Not the device of stat(2), which every btrfs subvolume has of its own.
		device := unix.Mkdev(uint32(at.Major), uint32(at.Minor))
		s := short[device]
		if s == nil {
			free, err := freeBytes(at.Mountpoint)
			if err != nil {
				return err
			}
			s = &Shortage{Mount: at.Mountpoint, Free: free}
			short[device], order = s, append(order, device)
		}
		s.Need += n.Bytes
		s.Dirs = append(s.Dirs, n.Dir)
	}
	at := slices.IndexFunc(order, func(device uint64) bool { return short[device].Missing() > 0 })
	if at < 0 {
		return nil
	}
	return short[order[at]]
}

// freeBytes is what a user who is not root can still write.
func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("cannot tell how much room %s has: %w", dir, err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}
