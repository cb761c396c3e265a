package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cgroup is a directory in the cgroup v2 hierarchy. All processes of the lab live below one, which makes
// them easy to find, to freeze and to kill together.
type cgroup string

// labGroup returns the cgroup of the whole lab, wherever this machine has cgroup v2 mounted.
func labGroup() (cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("cannot find cgroup v2: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if before, after, _ := strings.Cut(line, " - "); strings.HasPrefix(after, "cgroup2 ") {
			return cgroup(filepath.Join(strings.Fields(before)[4], groupName)), nil
		}
	}
	return "", errors.New("cannot find cgroup v2: it is not mounted")
}

// child returns the cgroup of one part of the lab.
func (g cgroup) child(name string) cgroup { return cgroup(filepath.Join(string(g), name)) }

// create makes the cgroup and offers it the controllers of its parents, as far as these have any: on
// a machine with cgroup v1 beside v2 there may be none, and the hosts live without.
func (g cgroup) create() error {
	if err := os.MkdirAll(string(g), 0o755); err != nil {
		return fmt.Errorf("cannot create cgroup: %w", err)
	}
	for _, dir := range []string{filepath.Dir(filepath.Dir(string(g))), filepath.Dir(string(g))} {
		for _, c := range []string{"cpu", "io", "memory", "pids"} {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
	}
	return nil
}

// open returns the directory for starting a process right in the cgroup.
func (g cgroup) open() (*os.File, error) {
	f, err := os.Open(string(g))
	if err != nil {
		return nil, fmt.Errorf("cannot open cgroup: %w", err)
	}
	return f, nil
}

// populated says whether a process lives in the cgroup or below it.
func (g cgroup) populated() bool { return g.event("populated 1") }

func (g cgroup) event(line string) bool {
	data, err := os.ReadFile(filepath.Join(string(g), "cgroup.events"))
	return err == nil && slices.Contains(strings.Split(string(data), "\n"), line)
}

// kill ends every process in the cgroup with SIGKILL and returns when they are gone. Once they are all marked for death,
// release is called, for what else keeps them.
func (g cgroup) kill(ctx context.Context, release func()) error {
	err := g.write("cgroup.kill", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	release()
	return await(ctx, "the end of the processes in "+string(g), func() (bool, error) {
		return !g.populated(), nil
	})
}

// freeze stops every process in the cgroup where it is, or lets them all go on.
func (g cgroup) freeze(ctx context.Context, frozen bool) error {
	value := "0"
	if frozen {
		value = "1"
	}
	if err := g.write("cgroup.freeze", value); err != nil {
		return err
	}
	return await(ctx, "the freezer of "+string(g), func() (bool, error) {
		return g.event("frozen " + value), nil
	})
}

func (g cgroup) write(file, value string) error {
	if err := os.WriteFile(filepath.Join(string(g), file), []byte(value), 0); err != nil {
		return fmt.Errorf("cannot write %s to %s: %w", value, file, err)
	}
	return nil
}

// remove deletes the cgroup and all below it, children first; no process may be left in it.
func (g cgroup) remove() error {
	var dirs []string
	err := filepath.WalkDir(string(g), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove cgroup: %w", err)
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove cgroup: %w", err)
		}
	}
	return nil
}
