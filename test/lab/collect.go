package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits of what is collected: state files are small, and a host that hangs must not hang the collector.
const (
	collectSize = 256 << 10
	collectTime = 15 * time.Second
)

// Collect writes what tells afterwards what went on into a directory per host below dir. It collects what
// it can: an error says what is missing, not that nothing is there.
func (l *Lab) Collect(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot collect: %w", err)
	}
	failed := copyFile(runDir+"/fencing.log", filepath.Join(dir, "fencing.log"))
	return errors.Join(failed, l.each(func(h *Host) error {
		if err := h.collect(ctx, filepath.Join(dir, h.name)); err != nil {
			return fmt.Errorf("cannot collect from %s: %w", h.name, err)
		}
		return nil
	}))
}

func (h *Host) collect(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	failed := h.collectJournal(ctx, dir)
	upper := h.dir("upper")
	for from, to := range map[string]string{
		h.dir("console"): "console",
		filepath.Join(upper, "var/log/pacemaker/pacemaker.log"): "pacemaker.log",
		filepath.Join(upper, "var/lib/pacemaker/cib/cib.xml"):   "cib-on-disk.xml",
	} {
		failed = errors.Join(failed, copyFile(from, filepath.Join(dir, to)))
	}
	trees := map[string]string{h.dir("disk", "pgtwin"): "var-lib-pgtwin"}
	if pid, err := h.pid(); err == nil {
		trees[fmt.Sprintf("/proc/%d/root/run/pgtwin", pid)] = "run-pgtwin"
		failed = errors.Join(failed, h.collectOutputs(ctx, dir))
	}
	for from, to := range trees {
		failed = errors.Join(failed, copySmall(from, filepath.Join(dir, to)))
	}
	return failed
}

// collectJournal saves the journal of all boots.
func (h *Host) collectJournal(ctx context.Context, dir string) error {
	h.syncJournal(ctx)
	out, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	defer out.Close()
	var stderr strings.Builder
	cmd := h.journal(ctx, "short-precise")
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot read the journal: %w", withTail(err, stderr.String()))
	}
	return nil
}

// syncJournal has the journal written down. A frozen host cannot: what it has written will do.
func (h *Host) syncJournal(ctx context.Context) {
	if !h.Running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	_, _ = h.Run(ctx, "journalctl", "--sync")
}

// journal returns the command that prints the journal in a format of journalctl(1): from the host's disk,
// which works with its power off as well, or in the host where the machine has no journalctl.
func (h *Host) journal(ctx context.Context, format string, more ...string) *exec.Cmd {
	args := append([]string{"journalctl", "--no-pager", "--output=" + format}, more...)
	if _, err := exec.LookPath(args[0]); err != nil && h.Running() {
		return h.Command(ctx, args...)
	}
	args = append(args, "--directory="+h.dir("upper", "var/log/journal"))
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// collectOutputs keeps what some commands say on the host now. Their failure is part of the evidence.
func (h *Host) collectOutputs(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	var failed error
	for file, argv := range map[string][]string{
		"cib.xml":  {"cibadmin", "--query"},
		"crm_mon":  {"crm_mon", "-1", "-A", "-r", "-f"},
		"ps":       {"ps", "-ef"},
		"units":    {"systemctl", "list-units", "--all", "--no-pager", "pgtwin*"},
		"corosync": {"corosync-cfgtool", "-s"},
		"network":  {"ip", "address"},
	} {
		out, err := h.Command(ctx, argv...).CombinedOutput()
		if err != nil {
			out = append(out, "\n"+strings.Join(argv, " ")+": "+err.Error()+"\n"...)
		}
		failed = errors.Join(failed, os.WriteFile(filepath.Join(dir, file), out, 0o644))
	}
	return failed
}

// copySmall copies the small regular files of a tree, but nothing that holds a password and no database.
func copySmall(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // the host goes on while we look: what is gone is gone
		}
		if _, err := os.Stat(filepath.Join(path, "PG_VERSION")); d.IsDir() && err == nil {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > collectSize || isSecret(d.Name()) {
			return nil
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(to, relative))
	})
}

func isSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"pass", "secret", ".key", "authkey"}, func(s string) bool {
		return strings.Contains(name, s)
	})
}

// copyFile copies a file if it is there.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
