package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const keptMark = ".replaced-"

func keptName(dir string, now time.Time) string {
	return dir + keptMark + now.UTC().Format("20060102T150405")
}

// unkept is the directory that a kept one was, "" for one that is not kept, and
// the end of the kept one's name.
func unkept(path string) (dir, mark string) {
	at := strings.LastIndex(path, keptMark)
	if at < 0 || strings.Contains(path[at:], "/") {
		return "", ""
	}
	return path[:at], path[at:]
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
	entries, err := os.ReadDir(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for replaced copies of %s: %w", dir, err)
	}
	var kept []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), filepath.Base(dir)+keptMark) {
			kept = append(kept, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	return kept, nil
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
	dir, err := resolve(l.Dir)
	if err != nil {
		return err
	}
	_, mark := unkept(kept)
	aside := dir + mark
	if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(dir, aside); errors.Is(err, os.ErrNotExist) {
			return nil // it was lost before
		} else if err != nil {
			return fmt.Errorf("cannot keep the replaced %s: %w", dir, err)
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("cannot keep the replaced %s: %w", dir, err)
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
// subvolumes, and else returns "".
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
	for _, d := range places {
		if !isSubvolume(d) {
			return "", nil
		}
	}
	mounted, err := MountPoint(dir)
	if err != nil || mounted || !isSubvolume(dir) {
		return "", err
	}
	kept = keptName(dir, now)
	if err := snapshot(dir, kept); err != nil {
		return "", err
	}
	for name, d := range places {
		err = errors.Join(err, snapshot(d, keptName(d, now)), relink(kept, name, keptName(d, now)), setReadOnly(keptName(d, now), true))
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
