package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const keptMark = ".replaced-"

// markOf is the end of the names of what is kept now.
func markOf(now time.Time) string { return keptMark + now.UTC().Format("20060102T150405") }

// unkept is the directory that a kept one was, "" for one that is not kept, and
// the end of the kept one's name.
func unkept(path string) (dir, mark string) {
	at := strings.LastIndex(path, keptMark)
	if at < 0 || strings.Contains(path[at:], "/") {
		return "", ""
	}
	return strings.TrimSuffix(path[:at], "/"+hidden), path[at:]
}

// Original is the directory of which dir is a kept copy, or else dir itself.
func Original(dir string) string {
	if original, _ := unkept(dir); original != "" {
		return original
	}
	return dir
}

// Kept lists the replaced copies of dir, oldest first.
func Kept(dir string) ([]string, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	kept, err := marked(dir)
	if err != nil {
		return nil, err
	}
	within, err := marked(filepath.Join(dir, hidden))
	if err != nil {
		return nil, err
	}
	kept = append(kept, within...)
	slices.SortFunc(kept, func(a, b string) int {
		_, first := unkept(a)
		_, second := unkept(b)
		return strings.Compare(first, second)
	})
	return kept, nil
}

// marked lists the directories that have dir's name and a mark.
func marked(dir string) ([]string, error) {
	names, err := entries(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		if strings.HasPrefix(name, filepath.Base(dir)+keptMark) {
			all = append(all, filepath.Join(filepath.Dir(dir), name))
		}
	}
	return all, nil
}

// releaseLinks gets the directories that the replaced copies of dir lead to out
// of the way of the new ones, so that each copy stays whole: they are kept under
// the same mark. It completes what was interrupted before. Nothing may be in the
// place of dir: whatever is there would lead to the same directories.
func releaseLinks(dir string) error {
	kept, err := Kept(dir)
	if err != nil {
		return err
	}
	slices.Reverse(kept) // the newest had them last
	for _, k := range kept {
		links, err := Links(k)
		if err != nil {
			return err
		}
		for _, l := range links {
			if Original(l.Dir) != l.Dir {
				continue // by now
			}
			if err := releaseLink(k, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func releaseLink(kept string, l Link) error {
	p, err := place(l.Dir)
	if err != nil {
		return err
	}
	_, mark := unkept(kept)
	aside := p.kept(mark)
	if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
		if aside, err = p.displace(mark); err != nil || aside == "" {
			return err // "": it was lost before
		}
	} else if err != nil {
		return fmt.Errorf("cannot keep the replaced %s: %w", l.Dir, err)
	}
	return relink(kept, l.Name, aside)
}

// Forget removes the replaced copies of dir but the newest keep ones, and those
// of the directories that it and they link to.
func Forget(dir string, keep int) error {
	kept, err := Kept(dir)
	if err != nil {
		return err
	}
	gone, stay := kept[:max(0, len(kept)-keep)], kept[max(0, len(kept)-keep):]
	outside, err := linked(append([]string{dir}, kept...))
	if err != nil {
		return err
	}
	needed, err := linked(stay)
	if err != nil {
		return err
	}
	var outdated []string
	for _, d := range originals(outside) {
		copies, err := Kept(d)
		if err != nil {
			return err
		}
		spare := slices.DeleteFunc(copies, func(c string) bool { return slices.Contains(needed, c) })
		outdated = append(outdated, spare[:max(0, len(spare)-max(0, keep-len(stay)))]...)
	}
	// What leads to the others goes last.
	for _, path := range append(outdated, gone...) {
		if err := remove(path); err != nil {
			return fmt.Errorf("cannot remove the replaced copy %s: %w", path, err)
		}
		if above := filepath.Dir(path); filepath.Base(above) == attic {
			_ = os.Remove(above) // unless there is more in it
		}
	}
	return nil
}

// linked lists the directories that data directories link to.
func linked(dirs []string) ([]string, error) {
	var all []string
	for _, dir := range dirs {
		links, err := Links(dir)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			all = append(all, l.Dir)
		}
	}
	return all, nil
}

// originals are the directories without those that are kept copies of them.
func originals(dirs []string) []string {
	var all []string
	for _, dir := range dirs {
		all = append(all, Original(dir))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Snapshot keeps what is in dir now as it keeps a replaced copy, before it is
// changed in place. It does so where dir and all that it links to are btrfs
// subvolumes and no mount points, and else returns "".
func Snapshot(dir string, now time.Time) (kept string, err error) {
	if dir, err = resolve(dir); err != nil {
		return "", err
	}
	links, err := Links(dir)
	if err != nil {
		return "", err
	}
	places := map[string]string{}
	for _, l := range links {
		if places[l.Name], err = resolve(l.Dir); err != nil {
			return "", err
		}
	}
	for _, d := range append(slices.Collect(maps.Values(places)), dir) {
		mounted, err := mountPoint(d) // a snapshot beside it would be on another file system
		if err != nil || mounted || !isSubvolume(d) {
			return "", err
		}
	}
	mark := markOf(now)
	kept = dir + mark
	if err := snapshot(dir, kept); err != nil {
		return "", err
	}
	for name, d := range places {
		err = errors.Join(err, snapshot(d, d+mark), relink(kept, name, d+mark), setReadOnly(d+mark, true))
	}
	return kept, errors.Join(err, setReadOnly(kept, true))
}

// remove removes a directory with everything in it; a subvolume at once.
func remove(path string) error {
	if isSubvolume(path) && removeSubvolume(path) == nil {
		return nil
	}
	return os.RemoveAll(path)
}
