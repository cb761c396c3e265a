package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Install makes files what they should be, by path and content; one whose
// content is empty is removed. Only where something differed is systemd made to
// read its units again, and changed is true.
func (s *Systemd) Install(ctx context.Context, files map[string]string) (changed bool, err error) {
	for path, content := range files {
		differed, err := put(path, content)
		if err != nil {
			return changed, fmt.Errorf("cannot install %s: %w", path, err)
		}
		changed = changed || differed
	}
	if !changed {
		return false, nil
	}
	return true, s.Reload(ctx)
}

// put gives a file its content and says whether that was news.
func put(path, content string) (changed bool, err error) {
	present, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return false, err
	case content == "" && missing, content != "" && !missing && string(present) == content:
		return false, nil
	case content == "":
		return true, os.Remove(path)
	}
	return true, replace(path, content)
}

// replace writes beside the file and renames: systemd may read it at any time.
// The name starts with a dot and does not end in .conf, so a left-over is not
// read. /run is a tmpfs; nothing is synced.
func replace(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	_, err = next.WriteString(content)
	err = errors.Join(err, next.Chmod(0o644), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}
