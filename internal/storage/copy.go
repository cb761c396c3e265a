package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Copy is a new copy of a data directory and of the directories outside that it
// links to. However it is interrupted, the old data are complete, in their
// place or kept, and the data directory is either the old one, or the new one,
// or missing: it goes first and comes last. Where it is a mount point it is
// marked in between.
type Copy struct {
	Place
	Links  []LinkedPlace
	marker string
}

// LinkedPlace is a link of the new copy and the place that it leads to.
type LinkedPlace struct {
	Link
	Place Place
}

// NewCopy plans a copy of dir that has these links. The marker is for Mark.
func NewCopy(dir string, links []Link, marker string) (Copy, error) {
	data, err := place(dir)
	if err != nil {
		return Copy{}, err
	}
	c := Copy{Place: data, marker: marker}
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

// Places are all places of the copy, that of the data directory first.
func (c Copy) Places() []Place {
	all := []Place{c.Place}
	for _, l := range c.Links {
		all = append(all, l.Place)
	}
	return all
}

// Discard removes what an interrupted copy has left, but nothing of the data
// that were there before.
func (c Copy) Discard() error {
	if err := c.clearSwap(); err != nil {
		return err
	}
	places := c.Places()
	// Also of tablespaces that the source does not have any more.
	stale, err := Links(c.Staging)
	if err != nil {
		return err
	}
	for _, l := range stale {
		if isStaging(l.Dir) {
			places = append(places, Place{Staging: l.Dir})
		}
	}
	slices.Reverse(places) // the links are gone last
	for _, p := range places {
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

// Swap puts the complete copy in the place of the data. What was there is kept,
// the data directory under the returned name; an empty directory is not kept.
func (c Copy) Swap(now time.Time) (kept string, err error) {
	for _, p := range c.Places() {
		if err := syncTree(p.Staging); err != nil {
			return "", err
		}
	}
	mark := markOf(now)
	if err := c.beginSwap(mark); err != nil {
		return "", err
	}
	if kept, err = c.displace(mark); err != nil {
		return "", err
	}
	if err := releaseLinks(c.Dir); err != nil {
		return kept, err
	}
	for _, l := range c.Links {
		if err := l.put(c.Staging, mark); err != nil {
			return kept, err
		}
	}
	// The source's own, empty: what it keeps is left out.
	if err := os.RemoveAll(filepath.Join(c.Staging, attic)); err != nil {
		return kept, fmt.Errorf("cannot complete the new copy: %w", err)
	}
	if err := syncTree(c.Staging); err != nil {
		return kept, err
	}
	if err := c.put(); err != nil || !c.within {
		return kept, err
	}
	return kept, Unmark(c.marker)
}

// swapping marks a data directory of which the parts are moved one by one. It is
// set when the directory that the old ones move to is there, and before the
// first one moves.
const swapping = "swap in a mount point"

func (c Copy) beginSwap(mark string) error {
	if !c.within {
		return nil
	}
	if err := c.beginMoving(mark); err != nil {
		return err
	}
	return Mark(c.marker, swapping)
}

// clearSwap removes what an interrupted swap has left of a new copy in a mount
// point. While the old data are still being moved there is nothing of it yet.
func (c Copy) clearSwap() error {
	work, _, err := Marked(c.marker)
	if err != nil || work != swapping || !c.within {
		return err
	}
	moving, err := c.moving()
	if err != nil || moving != "" {
		return err
	}
	names, err := c.content()
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.Dir, name)))
	}
	if err != nil {
		return fmt.Errorf("cannot clear %s: %w", c.Dir, err)
	}
	return nil
}

// put puts a directory outside in its place and lets the data directory that
// is yet to be put lead to it.
func (l LinkedPlace) put(data, mark string) error {
	// What is here still belongs to no copy that is known: it is kept, too.
	if _, err := l.Place.displace(mark); err != nil {
		return err
	}
	if err := l.Place.put(); err != nil {
		return err
	}
	return relink(data, l.Name, l.Dir)
}
