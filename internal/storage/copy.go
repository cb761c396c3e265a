package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Place is a directory and where its new copy is made: beside it, on the same
// file system, so that it can take the place by a rename. A mount point cannot
// be renamed, so a copy for one is made in place.
type Place struct{ Dir, Staging string }

func (p Place) inPlace() bool { return p.Dir == p.Staging }

// Copy is a new copy of a data directory and of the directories outside that it
// links to. However it is interrupted, the old data are complete, in their
// place or kept, and the data directory is either the old one, or the new one,
// or missing: it goes first and comes last.
type Copy struct {
	Place
	Links []LinkedPlace
}

// LinkedPlace is a link of the new copy and the place that it leads to.
type LinkedPlace struct {
	Link
	Place Place
}

// NewCopy plans a copy of dir that has these links.
func NewCopy(dir string, links []Link) (Copy, error) {
	data, err := place(dir)
	if err != nil {
		return Copy{}, err
	}
	c := Copy{Place: data}
	for _, link := range links {
		p, err := place(link.Dir)
		if err != nil {
			return Copy{}, err
		}
		if within(p.Dir, data.Dir) || within(data.Dir, p.Dir) {
			return Copy{}, fmt.Errorf("cannot copy %s to %s and the data directory to %s: one is in the other: move it on the primary", link.Name, link.Dir, dir)
		}
		c.Links = append(c.Links, LinkedPlace{link, p})
	}
	return c, nil
}

func place(dir string) (Place, error) {
	dir, err := resolve(dir)
	if err != nil {
		return Place{}, err
	}
	mounted, err := MountPoint(dir)
	if err != nil || mounted {
		return Place{dir, dir}, err
	}
	return Place{dir, beside(dir, staging)}, nil
}

// staging is the end of the name of a directory in which a copy is made.
const staging = "new"

// Places are all places of the copy, that of the data directory first.
func (c Copy) Places() []Place {
	all := []Place{c.Place}
	for _, l := range c.Links {
		all = append(all, l.Place)
	}
	return all
}

// InPlace lists the directories that are copied in place.
func (c Copy) InPlace() []string {
	var dirs []string
	for _, p := range c.Places() {
		if p.inPlace() {
			dirs = append(dirs, p.Dir)
		}
	}
	return dirs
}

// Discard removes what an interrupted copy has left beside the data. What it
// left in place is for Empty.
func (c Copy) Discard() error {
	places := c.Places()
	// Also of tablespaces that the source does not have any more.
	stale, err := Links(c.Staging)
	if err != nil {
		return err
	}
	for _, l := range stale {
		if strings.HasSuffix(l.Dir, ".pgtwin-"+staging) && !c.inPlace() {
			places = append(places, Place{Staging: l.Dir})
		}
	}
	slices.Reverse(places) // the links are gone last
	for _, p := range places {
		if p.inPlace() {
			continue
		}
		if err := remove(p.Staging); err != nil {
			return fmt.Errorf("cannot clear %s: %w", p.Staging, err)
		}
	}
	return nil
}

// Prepare makes empty directories for the copy, owned by uid and gid, in place
// of those that an interrupted copy left.
func (c Copy) Prepare(uid, gid uint32) error {
	if err := c.Discard(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return fmt.Errorf("cannot make room for the new copy: %w", err)
	}
	for _, p := range c.Places() {
		if err := p.prepare(uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func (p Place) prepare(uid, gid uint32) error {
	if _, err := os.Stat(filepath.Dir(p.Dir)); err != nil {
		return fmt.Errorf("cannot make room for the new copy of %s: %w: mount or make it", p.Dir, err)
	}
	if err := p.makeStaging(); err != nil {
		return fmt.Errorf("cannot make room for the new copy of %s: %w", p.Dir, err)
	}
	entries, err := os.ReadDir(p.Staging)
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", p.Staging, err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "lost+found" })
	if len(entries) > 0 {
		return fmt.Errorf("cannot replace the data in %s: it is a mount point, so the new copy cannot be made beside it: move its content away", p.Dir)
	}
	if err := os.Chown(p.Staging, int(uid), int(gid)); err != nil {
		return fmt.Errorf("cannot hand %s to its owner: %w", p.Staging, err)
	}
	return os.Chmod(p.Staging, 0o700)
}

// makeStaging makes the copy of a btrfs subvolume one, too.
func (p Place) makeStaging() error {
	if p.inPlace() {
		return nil
	}
	if isSubvolume(p.Dir) {
		return makeSubvolume(p.Staging)
	}
	return os.Mkdir(p.Staging, 0o700)
}

// Swap puts the complete copy in the place of the data. What was there is kept
// beside it, the data directory under the returned name; an empty directory is
// not kept.
func (c Copy) Swap(now time.Time) (kept string, err error) {
	for _, p := range c.Places() {
		if err := syncTree(p.Staging); err != nil {
			return "", err
		}
	}
	if !c.inPlace() {
		if kept, err = displace(c.Dir, now); err != nil {
			return "", err
		}
	}
	if err := releaseLinks(c.Dir); err != nil {
		return kept, err
	}
	for _, l := range c.Links {
		if err := l.put(c.Staging, now); err != nil {
			return kept, err
		}
	}
	if err := syncTree(c.Staging); err != nil {
		return kept, err
	}
	return kept, c.put()
}

// put lets the finished copy take its place, which is free.
func (p Place) put() error {
	if p.inPlace() {
		return nil
	}
	if err := os.Rename(p.Staging, p.Dir); err != nil {
		return fmt.Errorf("cannot put the new copy in the place of %s: %w", p.Dir, err)
	}
	return syncDir(filepath.Dir(p.Dir))
}

// put puts a directory outside in its place and lets the data directory that
// is yet to be put lead to it.
func (l LinkedPlace) put(data string, now time.Time) error {
	if !l.Place.inPlace() {
		// What is here still belongs to no copy that is known: it is kept, too.
		if _, err := displace(l.Place.Dir, now); err != nil {
			return err
		}
	}
	if err := l.Place.put(); err != nil {
		return err
	}
	return relink(data, l.Name, l.Dir)
}

// displace gets a directory out of the way: an empty one is removed, another
// kept under the returned name.
func displace(dir string, now time.Time) (kept string, err error) {
	err = os.Remove(dir)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
		return "", nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return "", fmt.Errorf("cannot put a new copy in the place of %s: %w", dir, err)
	}
	kept = keptName(dir, now)
	if err := os.Rename(dir, kept); err != nil {
		return "", fmt.Errorf("cannot keep the replaced %s: %w", dir, err)
	}
	return kept, syncDir(filepath.Dir(dir))
}
