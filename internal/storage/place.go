package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is a directory and where its new copy is made: on the same file system,
// so that it can take the place by a rename. That is beside it. A mount point
// cannot be renamed: there it is within, and the parts are moved one by one.
type Place struct {
	Dir, Staging string
	within       bool
}

// attic is the directory within a mount point for what is not of the data. Base
// backups leave out whatever has a name like temporary files, pg_rewind what is
// in a directory and does (basebackup.c, filemap.c: PG_TEMP_FILE_PREFIX).
const (
	attic  = "pgtwin"
	hidden = attic + "/pgsql_tmp"
)

// The ends of the names of a directory in which a copy is made, and of one to
// which the parts of the old one are being moved.
const (
	stagingMark = "new"
	movingMark  = ".moving"
)

func place(dir string) (Place, error) {
	dir, err := resolve(dir)
	if err != nil {
		return Place{}, err
	}
	mounted, err := mountPoint(dir)
	if err != nil {
		return Place{}, err
	}
	if mounted {
		return Place{dir, filepath.Join(dir, hidden+"."+stagingMark), true}, nil
	}
	return Place{dir, beside(dir, stagingMark), false}, nil
}

func isStaging(path string) bool {
	return strings.HasSuffix(path, "/"+hidden+"."+stagingMark) || strings.HasSuffix(path, ".pgtwin-"+stagingMark)
}

// kept is where the directory is kept under a mark.
func (p Place) kept(mark string) string {
	if p.within {
		return filepath.Join(p.Dir, hidden+mark)
	}
	return p.Dir + mark
}

// prepare makes an empty directory for the copy.
func (p Place) prepare(uid, gid uint32) error {
	if _, err := os.Stat(filepath.Dir(p.Dir)); err != nil {
		return fmt.Errorf("cannot make room for the new copy of %s: %w: mount or make it", p.Dir, err)
	}
	made := []string{p.Staging}
	if p.within {
		made = []string{p.Dir, filepath.Join(p.Dir, attic), p.Staging}
	}
	for _, dir := range made {
		if err := p.make(dir); err != nil {
			return fmt.Errorf("cannot make room for the new copy of %s: %w", p.Dir, err)
		}
		if err := errors.Join(os.Chown(dir, int(uid), int(gid)), os.Chmod(dir, 0o700)); err != nil {
			return fmt.Errorf("cannot hand %s to its owner: %w", dir, err)
		}
	}
	return nil
}

// make makes the copy of a btrfs subvolume one, too.
func (p Place) make(dir string) error {
	if dir == p.Staging && !p.within && isSubvolume(p.Dir) {
		return makeSubvolume(dir)
	}
	err := os.Mkdir(dir, 0o700)
	if dir != p.Staging && errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// put lets the finished copy take its place, which is free.
func (p Place) put() error {
	if !p.within {
		if err := os.Rename(p.Staging, p.Dir); err != nil {
			return fmt.Errorf("cannot put the new copy in the place of %s: %w", p.Dir, err)
		}
		return syncDir(filepath.Dir(p.Dir))
	}
	names, err := entries(p.Staging)
	if err != nil {
		return err
	}
	if err := moveAll(p.Staging, names, p.Dir); err != nil {
		return fmt.Errorf("cannot put the new copy in the place of %s: %w", p.Dir, err)
	}
	err = os.Remove(p.Staging)
	_ = os.Remove(filepath.Dir(p.Staging)) // unless something is kept there
	return errors.Join(err, syncDir(p.Dir))
}

// displace gets a directory out of the way: an empty one is removed, another
// kept under the returned name. Where that was interrupted it goes on, under the
// mark of then.
func (p Place) displace(mark string) (kept string, err error) {
	if p.within {
		return p.moveOut(mark)
	}
	err = os.Remove(p.Dir)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
		return "", nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return "", fmt.Errorf("cannot put a new copy in the place of %s: %w", p.Dir, err)
	}
	kept = p.kept(mark)
	if err := os.Rename(p.Dir, kept); err != nil {
		return "", fmt.Errorf("cannot keep the replaced %s: %w", p.Dir, err)
	}
	return kept, syncDir(filepath.Dir(p.Dir))
}

func (p Place) moveOut(mark string) (kept string, err error) {
	if err := p.beginMoving(mark); err != nil {
		return "", err
	}
	moving, err := p.moving()
	if err != nil {
		return "", err
	}
	names, err := p.content()
	if err == nil {
		err = moveAll(p.Dir, names, moving)
	}
	if err != nil {
		return "", fmt.Errorf("cannot keep the replaced %s: %w", p.Dir, err)
	}
	if os.Remove(moving) == nil {
		return "", nil // there was nothing
	}
	kept = strings.Replace(moving, hidden+movingMark, hidden, 1)
	if err := errors.Join(syncDir(moving), os.Rename(moving, kept)); err != nil {
		return "", fmt.Errorf("cannot keep the replaced %s: %w", p.Dir, err)
	}
	return kept, errors.Join(syncDir(filepath.Dir(kept)), syncDir(p.Dir))
}

// beginMoving makes the directory to which the parts of the old one move.
func (p Place) beginMoving(mark string) error {
	moving, err := p.moving()
	if err != nil || moving != "" {
		return err
	}
	var of unix.Stat_t
	if err := unix.Stat(p.Dir, &of); err != nil {
		return fmt.Errorf("cannot look at %s: %w", p.Dir, err)
	}
	moving = filepath.Join(p.Dir, hidden+movingMark+mark)
	for _, dir := range []string{filepath.Dir(moving), moving} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("cannot keep the replaced %s: %w", p.Dir, err)
		}
		if err := os.Chown(dir, int(of.Uid), int(of.Gid)); err != nil {
			return fmt.Errorf("cannot hand %s to its owner: %w", dir, err)
		}
	}
	return errors.Join(syncDir(filepath.Dir(moving)), syncDir(p.Dir))
}

// moving is the directory to which the parts of the old one were being moved, ""
// for none.
func (p Place) moving() (string, error) {
	names, err := entries(filepath.Join(p.Dir, attic))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if strings.HasPrefix(attic+"/"+name, hidden+movingMark) {
			return filepath.Join(p.Dir, attic, name), nil
		}
	}
	return "", nil
}

// content lists what is of the data in a mount point.
func (p Place) content() ([]string, error) {
	names, err := entries(p.Dir)
	return slices.DeleteFunc(names, func(name string) bool { return name == attic || name == "lost+found" }), err
}

// entries lists a directory, which need not be there.
func entries(dir string) ([]string, error) {
	found, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot look into %s: %w", dir, err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names, nil
}

func moveAll(from string, names []string, to string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}
