package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The root of every subvolume has this inode number (btrfs_tree.h,
// BTRFS_FIRST_FREE_OBJECTID).
const subvolumeRoot = 256

// isSubvolume says whether dir is a btrfs subvolume.
func isSubvolume(dir string) bool {
	var stat unix.Stat_t
	var fs unix.Statfs_t
	return unix.Lstat(dir, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR && stat.Ino == subvolumeRoot &&
		unix.Statfs(dir, &fs) == nil && int64(fs.Type) == unix.BTRFS_SUPER_MAGIC
}

// The requests of linux/btrfs.h, as _IOW(0x94, N, SIZE).
const (
	subvolCreate   = 0x5000940e // BTRFS_IOC_SUBVOL_CREATE, volArgs
	snapDestroy    = 0x5000940f // BTRFS_IOC_SNAP_DESTROY, volArgs
	snapCreateV2   = 0x50009417 // BTRFS_IOC_SNAP_CREATE_V2, volArgsV2
	subvolSetFlags = 0x4008941a // BTRFS_IOC_SUBVOL_SETFLAGS, uint64

	readOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY
)

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	FD   int64
	Name [4088]byte
}

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	FD      int64
	Transid uint64
	Flags   uint64
	Unused  [4]uint64
	Name    [4040]byte
}

func makeSubvolume(path string) error {
	var args volArgs
	copy(args.Name[:], filepath.Base(path))
	return ioctl("make the subvolume", filepath.Dir(path), path, subvolCreate, unsafe.Pointer(&args))
}

func removeSubvolume(path string) error {
	var args volArgs
	copy(args.Name[:], filepath.Base(path))
	return ioctl("remove the subvolume", filepath.Dir(path), path, snapDestroy, unsafe.Pointer(&args))
}

// snapshot makes a writable snapshot of a subvolume.
func snapshot(dir, path string) error {
	source, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot make a snapshot: %w", err)
	}
	defer source.Close()
	args := volArgsV2{FD: int64(source.Fd())}
	copy(args.Name[:], filepath.Base(path))
	return ioctl("make the snapshot", filepath.Dir(path), path, snapCreateV2, unsafe.Pointer(&args))
}

func setReadOnly(path string, is bool) error {
	flags := uint64(0)
	if is {
		flags = readOnly
	}
	return ioctl("write-protect", path, path, subvolSetFlags, unsafe.Pointer(&flags))
}

func ioctl(doing, dir, path string, request uintptr, args unsafe.Pointer) error {
	on, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", doing, path, err)
	}
	defer on.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, on.Fd(), request, uintptr(args)); errno != 0 {
		return fmt.Errorf("cannot %s %s: %w", doing, path, errno)
	}
	return nil
}
