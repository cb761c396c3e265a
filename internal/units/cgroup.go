package units

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// CgroupProcesses lists the processes in a unit's control group and all groups
// below it, by State.ControlGroup. A group that does not exist has none; that it
// could not be looked at is an error, never an empty list. A process of another
// PID namespace counts, with the number 0.
func CgroupProcesses(controlGroup string) ([]int, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find the control groups: %w", err)
	}
	defer mounts.Close()
	hierarchies, err := hierarchies(bufio.NewScanner(mounts))
	if err != nil {
		return nil, fmt.Errorf("cannot find the control groups: %w", err)
	}
	return processes(hierarchies, controlGroup)
}

// hierarchy is a place where systemd's control groups are mounted.
type hierarchy struct {
	mount string // directory
	root  string // the group that is seen there
}

// hierarchies finds where systemd tracks its units: the v2 hierarchy, or the v1
// hierarchy named systemd, or both (proc_pid_mountinfo(5), cgroups(7)).
func hierarchies(mountinfo *bufio.Scanner) ([]hierarchy, error) {
	var found []hierarchy
	for mountinfo.Scan() {
		before, after, ok := strings.Cut(mountinfo.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		v1 := right[0] == "cgroup" && slices.Contains(strings.Split(right[2], ","), "name=systemd")
		if right[0] != "cgroup2" && !v1 {
			continue
		}
		found = append(found, hierarchy{mount: unescape.Replace(left[4]), root: unescape.Replace(left[3])})
	}
	if err := mountinfo.Err(); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no control group hierarchy of systemd's is mounted")
	}
	return found, nil
}

// unescape undoes what the kernel does to names in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// processes looks in every hierarchy: with both mounted, a process is in the
// same group of each.
func processes(hierarchies []hierarchy, controlGroup string) ([]int, error) {
	if !filepath.IsAbs(controlGroup) || filepath.Clean(controlGroup) == "/" {
		return nil, fmt.Errorf("cannot list the processes of control group %q: it is not a unit's", controlGroup)
	}
	var found []int
	for _, h := range hierarchies {
		group := strings.TrimPrefix(filepath.Clean(controlGroup), strings.TrimSuffix(h.root, "/"))
		err := filepath.WalkDir(filepath.Join(h.mount, group), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return vanished(err)
			}
			pids, err := members(filepath.Join(path, "cgroup.procs"))
			found = append(found, pids...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("cannot list the processes of control group %s: %w", controlGroup, err)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

func members(file string) (pids []int, err error) {
	text, err := os.ReadFile(file)
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, vanished(err)
}

// vanished forgives a group that is removed while it is read; only empty ones
// can be.
func vanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}
