package pg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// replaceFile puts content in place of path in one step: after a crash there is the old file or the
// new one, and either is complete.
func replaceFile(path string, content []byte, mode fs.FileMode, uid, gid uint32) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot write %s: %w", path, err), removeIfThere(temp.Name()))
		}
	}()
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chown(int(uid), int(gid)), temp.Chmod(mode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceIfChanged is replaceFile where path does not already have this content, mode and owner.
func replaceIfChanged(path string, content []byte, mode fs.FileMode, uid, gid uint32) (changed bool, err error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode() == mode {
		stat := info.Sys().(*syscall.Stat_t)
		old, err := os.ReadFile(path)
		if err == nil && stat.Uid == uid && stat.Gid == gid && bytes.Equal(old, content) {
			return false, nil
		}
	}
	return true, replaceFile(path, content, mode, uid, gid)
}

// syncDir makes creations, renames and removals in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// PutFile writes a file, and the directory that it is in where that is missing, for a user.
func PutFile(path string, content []byte, uid, gid uint32) error {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err == nil {
		err = os.Chown(dir, int(uid), int(gid))
		if err != nil {
			return fmt.Errorf("cannot hand %s to its owner: %w", dir, err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return replaceFile(path, content, 0o600, uid, gid)
}
