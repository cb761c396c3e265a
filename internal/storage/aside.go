package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// serverDirs are the directories of a data directory that are PostgreSQL's alone (initdb.c, subdirs).
var serverDirs = [...]string{"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot",
	"pg_serial", "pg_snapshots", "pg_stat", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact", attic, "lost+found"}

// strangers is how many entries of a data directory are looked at.
const strangers = 10000

// aside is where the administrator's files wait while a rewind works on a data directory. They are
// renamed, and so stay on their file system.
func aside(dir string) (string, error) {
	p, err := place(dir)
	if err != nil {
		return "", err
	}
	if p.within || isSubvolume(p.Dir) {
		return filepath.Join(p.Dir, hidden+".aside"), nil
	}
	return beside(p.Dir, "aside"), nil
}

// Foreign lists what is not PostgreSQL's own in a data directory, by relative path: symbolic links,
// but for those to the WAL and the tablespaces, and files and directories of another user than uid.
func Foreign(dir string, uid uint32) (names []string, err error) {
	count := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if count++; err != nil || count > strangers {
			return errors.Join(err, fs.SkipAll)
		}
		if slices.Contains(serverDirs[:], name) {
			return skip(e)
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Type()&fs.ModeSymlink != 0 || info.Sys().(*syscall.Stat_t).Uid != uid {
			names = append(names, name)
			return skip(e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look for the administrator's files in %s: %w", dir, err)
	}
	return names, nil
}

func skip(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// SetForeignAside moves what Foreign lists out of a data directory, where PutBack finds it, also after
// a crash.
func SetForeignAside(dir string, uid uint32) (names []string, err error) {
	if names, err = Foreign(dir, uid); err != nil || len(names) == 0 {
		return nil, err
	}
	to, err := aside(dir)
	for i := 0; err == nil && i < len(names); i++ {
		err = moveAside(filepath.Join(dir, names[i]), filepath.Join(to, names[i]), dir)
	}
	if err == nil {
		err = syncTree(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot set the administrator's files aside: %w", errors.Join(err, PutBack(dir)))
	}
	return names, nil
}

func moveAside(from, to, dir string) error {
	if err := makeLike(filepath.Dir(to), dir); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// makeLike makes a directory and those above that are missing, for the owner of another one.
func makeLike(path, like string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := makeLike(filepath.Dir(path), like); err != nil {
		return err
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, int(owner.Uid), int(owner.Gid)))
}

// PutBack moves what was set aside to its place again, before which a copy of it that the rewind
// brought from the source gives way. Where nothing was set aside nothing happens.
func PutBack(dir string) error {
	from, err := aside(dir)
	if err != nil {
		return err
	}
	if err := putBack(from, dir); err != nil {
		return fmt.Errorf("cannot put the administrator's files back, which are in %s: %w", from, err)
	}
	return nil
}

func putBack(from, dir string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())
		info, err := os.Lstat(target)
		switch {
		case err == nil && info.IsDir() && e.IsDir():
			// The directory stayed, something in it was set aside.
			if err := putBack(source, target); err != nil {
				return err
			}
			continue
		case err == nil && info.IsDir():
			if err := os.RemoveAll(target); err != nil {
				return err
			}
		}
		if err := os.Rename(source, target); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(from), syncDir(dir), syncDir(filepath.Dir(from)))
}
