//go:build lab

package e2e

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pgtwin/internal/control"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// cloning is the status of the clone while it is under way.
func (r *rejoin) cloning(ctx context.Context, want func(control.State) error) error {
	return cluster.Await(ctx, "the clone", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		switch {
		case err != nil:
			return err
		case st.Phase != control.PhaseCloning || st.Progress == nil || st.Progress.Done == 0:
			return fmt.Errorf("%s: %s", st.Phase, st.Detail)
		}
		return want(st)
	})
}

func underWay(control.State) error { return nil }

// linksOf is where a data directory has its WAL and the only tablespace.
func (r *rejoin) linksOf(ctx context.Context, data string) (wal, space string, err error) {
	wal, err = r.standby.Run(ctx, "readlink", data+"/pg_wal")
	if err != nil {
		return "", "", err
	}
	space, err = r.standby.Run(ctx, "find", data+"/pg_tblspc", "-type", "l", "-printf", "%l")
	return strings.TrimSpace(wal), space, err
}

func (r *rejoin) inPlace(ctx context.Context, data, wal, space string) error {
	gotWAL, gotSpace, err := r.linksOf(ctx, data)
	if err == nil && (gotWAL != wal || gotSpace != space) {
		err = fmt.Errorf("%s has its WAL in %s and its tablespace in %s", data, gotWAL, gotSpace)
	}
	return err
}

// keptWhole looks for the old data in the copy that pgtwin status names.
func (r *rejoin) keptWhole(ctx context.Context) error {
	var kept string
	err := cluster.Await(ctx, "the replaced data to be shown", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		if len(st.Replaced) != 1 {
			return fmt.Errorf("it shows %v", st.Replaced)
		}
		kept = st.Replaced[0] // for a moment still the one before
		_, err = r.standby.Run(ctx, "test", "-e", path.Join(kept, r.old))
		return err
	})
	if err != nil {
		return err
	}
	mark := kept[strings.LastIndex(kept, ".replaced-"):]
	if err := r.inPlace(ctx, kept, walDir+mark, spaceDir+mark); err != nil {
		return err
	}
	for _, file := range []string{kept + "/global/pg_control", spaceDir + mark + "/" + r.old, walDir + mark} {
		if _, err := r.standby.Run(ctx, "test", "-e", file); err != nil {
			return fmt.Errorf("%s is not kept", file)
		}
	}
	// Status says it, too; the standby may have a warning, so its exit status is no matter.
	out, _ := r.standby.Run(ctx, "pgtwin", "status", cluster.Instance)
	if !strings.Contains(out, kept) {
		return fmt.Errorf("pgtwin status does not show %s:\n%s", kept, out)
	}
	return nil
}

// tidy says what is left beside the data and the one kept copy.
func (r *rejoin) tidy(ctx context.Context) error {
	out, err := r.standby.Run(ctx, "find", path.Dir(cluster.DataDir), path.Dir(spaceDir), "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-printf", "%f\n")
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(strings.Fields(out), func(name string) bool {
		return strings.Contains(name, ".lost-") // WAL of commits that were not acknowledged before a takeover
	})
	slices.Sort(found)
	for i, name := range found {
		found[i], _, _ = strings.Cut(name, ".replaced-")
	}
	want := []string{"data", "data", "fast", "fast", "wal", "wal"}
	if r.mounted {
		want = want[1:]
	}
	if !slices.Equal(found, want) {
		return fmt.Errorf("there are %s", strings.Fields(out))
	}
	return nil
}

func paced(st control.State) error {
	if p := st.Progress; p.Rate == 0 || p.Total < int64(*large)<<20 || p.Left() == 0 {
		return fmt.Errorf("progress %+v", *p)
	}
	if rate := st.Progress.Rate; rate > int64(cloneRate())<<20*5/4 {
		return fmt.Errorf("%s/s are more than basebackup_max_rate", control.Size(rate))
	}
	return nil
}

func (r *rejoin) shown(ctx context.Context) error {
	return cluster.Await(ctx, "the progress to be shown", func(ctx context.Context) error {
		line, err := cluster.Property(ctx, r.standby, cluster.Unit, "StatusText")
		if err != nil {
			return err
		}
		// It exits with 1: the standby is missing.
		table, _ := r.standby.Run(ctx, "pgtwin", "status", cluster.Instance)
		for _, text := range []string{line, table} {
			for _, part := range []string{"%", " MB of ", " MB/s, ", "s left"} {
				if !strings.Contains(text, part) {
					return fmt.Errorf("there is no %q in: %s", part, text)
				}
			}
		}
		return nil
	})
}

// leanGrowth is what the runtime of Go may take more at some moment.
const leanGrowth = 16 << 10 // kB

// lean watches the resident memory of the helper to the end of the clone.
func (r *rejoin) lean(ctx context.Context) error {
	pid, err := cluster.MainPID(ctx, r.standby, cluster.Unit)
	if err != nil {
		return err
	}
	least, most := 0, 0
	err = cluster.Await(ctx, "the end of the clone", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		if st.Phase != control.PhaseCloning {
			return nil
		}
		now, err := residentKB(ctx, r.standby, pid)
		if err != nil {
			return err
		}
		if least == 0 {
			least = now
		}
		least, most = min(least, now), max(most, now)
		return fmt.Errorf("%s: %s", st.Phase, sentenceOf(st))
	})
	if err == nil && (least == 0 || most-least > leanGrowth) {
		err = fmt.Errorf("the helper had between %d and %d kB", least, most)
	}
	return err
}

func sentenceOf(st control.State) string {
	if st.Progress == nil {
		return st.Detail
	}
	return st.Detail + ", " + st.Progress.Amount()
}

func residentKB(ctx context.Context, h *lab.Host, pid int) (kb int, err error) {
	text, err := h.Run(ctx, "grep", "VmRSS", fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(text, "VmRSS: %d kB", &kb)
	return kb, err
}

// fillBut leaves no more than so many bytes free.
func fillBut(ctx context.Context, h *lab.Host, disk, file string, leave int64) error {
	text, err := h.Run(ctx, "df", "--block-size=1", "--output=avail", disk)
	if err != nil {
		return err
	}
	_, text, _ = strings.Cut(strings.TrimSpace(text), "\n")
	free, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return err
	}
	return programsInHost(ctx, h, []string{"fallocate", "--length", strconv.FormatInt(free-leave, 10), file}, []string{"sync", "--file-system", disk})
}

func (r *rejoin) short(ctx context.Context) error {
	return r.waits(ctx, "cannot put "+spaceDir+" on "+spaceDisk+": ", " MB needed, ", " MB free: make ", "follows in ")
}

// waits returns when the host says what it waits for.
func (r *rejoin) waits(ctx context.Context, parts ...string) error {
	return cluster.Await(ctx, "the host to say what it waits for", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, r.standby)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if st.Phase != control.PhaseWaiting || !strings.Contains(st.Detail, part) {
				return fmt.Errorf("there is no %q in: %s: %s", part, st.Phase, st.Detail)
			}
		}
		return nil
	})
}

// untouched looks whether the old data are where they were.
func (r *rejoin) untouched(ctx context.Context) error {
	for _, dir := range []string{cluster.DataDir, spaceDir} {
		if _, err := r.standby.Run(ctx, "test", "-e", path.Join(dir, r.old)); err != nil {
			return fmt.Errorf("%s is not the old one any more", dir)
		}
	}
	return nil
}

// keptAlone looks into the directory for what is kept in a mount point.
func (r *rejoin) keptAlone(ctx context.Context) error {
	found, err := r.standby.Run(ctx, "find", cluster.DataDir+"/pgtwin", "-mindepth", "1", "-maxdepth", "2", "(", "-name", "pgsql_tmp*", "-o", "-name", "old-*", ")")
	if names := strings.Fields(found); err == nil && (len(names) != 2 || !strings.HasSuffix(found, "/"+r.old+"\n")) {
		err = fmt.Errorf("%s has %v", r.standby.Name(), names)
	}
	return err
}

// isSubvolume says whether dir is one: the root of each has this inode number.
func isSubvolume(ctx context.Context, h *lab.Host, dir string) error {
	inode, err := h.Run(ctx, "stat", "--format=%i", dir)
	if err == nil && strings.TrimSpace(inode) != "256" {
		err = fmt.Errorf("%s is no subvolume", dir)
	}
	return err
}
