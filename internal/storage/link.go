package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Link is a directory outside of a data directory that belongs to it.
type Link struct {
	Name string // in the data directory: WAL, or Tablespace of an oid
	Dir  string // where it leads
}

// WAL is the name of the directory of the write-ahead log.
const WAL = "pg_wal"

// Tablespace is the name of a tablespace's directory.
func Tablespace(oid uint32) string { return fmt.Sprintf("%s/%d", tablespaces, oid) }

const tablespaces = "pg_tblspc"

// Links lists the directories outside that a data directory leads to. Without
// the data directory there are none.
func Links(dir string) ([]Link, error) {
	names := []string{WAL}
	entries, err := os.ReadDir(filepath.Join(dir, tablespaces))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot look for tablespaces: %w", err)
	}
	for _, e := range entries {
		names = append(names, tablespaces+"/"+e.Name())
	}
	var links []Link
	for _, name := range names {
		to, err := os.Readlink(filepath.Join(dir, name))
		switch {
		case err == nil && !filepath.IsAbs(to):
			to = filepath.Join(dir, filepath.Dir(name), to)
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EINVAL): // EINVAL: it is no link
			continue
		case err != nil:
			return nil, fmt.Errorf("cannot follow %s: %w", filepath.Join(dir, name), err)
		}
		links = append(links, Link{name, filepath.Clean(to)})
	}
	return links, nil
}

// relink lets a link of a data directory lead to another directory, in one
// step.
func relink(dir, name, to string) error {
	path := filepath.Join(dir, name)
	next := path + ".pgtwin-new"
	err := os.Remove(next)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.Symlink(to, next)
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return fmt.Errorf("cannot let %s lead to %s: %w", path, to, err)
	}
	return syncDir(filepath.Dir(path))
}

// resolve is where a directory, which need not be there, is on its file system:
// what is renamed is the directory and not a symbolic link to it.
func resolve(dir string) (string, error) {
	found, err := filepath.EvalSymlinks(dir)
	if err == nil {
		return found, nil
	}
	if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
		return "", fmt.Errorf("cannot find %s: %w", dir, err)
	}
	if to, err := os.Readlink(dir); err == nil {
		return "", fmt.Errorf("cannot find %s: it is a symbolic link to %s, which is missing", dir, to)
	}
	above, err := resolve(filepath.Dir(dir))
	return filepath.Join(above, filepath.Base(dir)), err
}

// within says whether a directory is another one or below it.
func within(dir, other string) bool {
	return dir == other || strings.HasPrefix(dir, strings.TrimSuffix(other, "/")+"/")
}
