//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgtwin/internal/ocf"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// What pgtwin may cost.
const (
	monitorCPU       = 20 * time.Millisecond // make results
	monitorFaults    = 450
	monitorProcesses = 2
	monitorRuns      = 20
	supervisorMemory = 40 << 10 // kB
	standbyStart     = 2 * time.Second
)

// whatItCosts measures what pgtwin takes from the database it serves.
func whatItCosts(s *scene) {
	primary, standby := s.hosts()
	monitor := agentCommand(cluster.Resource, "monitor",
		map[string]string{"container_name": cluster.Instance, "pgdata": cluster.DataDir}, "OCF_RESKEY_CRM_meta_interval=3000")
	s.tell(
		step("a monitor is cheap", func(ctx context.Context) error {
			return errors.Join(s.cpu(ctx, primary, ocf.RunningPromoted, monitor), s.cpu(ctx, standby, ocf.Success, monitor))
		}),
		step("a monitor is few processes", func(ctx context.Context) error {
			began, err := programs(ctx, primary, monitor)
			if err != nil {
				return err
			}
			s.Logf("  %d processes", began)
			if began > monitorProcesses {
				return fmt.Errorf("a monitor is %d processes, at most %d are acceptable", began, monitorProcesses)
			}
			return nil
		}),
		step("the supervisor is small", func(ctx context.Context) error {
			return errors.Join(s.memory(ctx, primary), s.memory(ctx, standby))
		}),
		step("a standby starts quickly", func(ctx context.Context) error { return s.standbyStart(ctx, standby) }),
	)
}

// cpu measures the processor time and the page faults of a monitor, less those of getting into the host. The time depends on
// the machine and on what else it does; the faults, which are most of the time, do not.
func (s *scene) cpu(ctx context.Context, h *lab.Host, want ocf.Code, monitor []string) error {
	entry, err := usageOf(ctx, h, 0, []string{"env", "true"})
	if err != nil {
		return err
	}
	all, err := usageOf(ctx, h, want, monitor)
	if err != nil {
		return err
	}
	time, faults := all.time-entry.time, all.faults-entry.faults
	s.Logf("  %s: %.1f ms of processor time, %d page faults", h.Name(), time.Seconds()*1000, faults)
	if time > monitorCPU {
		s.Slow(fmt.Errorf("a monitor on %s takes %s of processor time, at most %s is acceptable", h.Name(), time, monitorCPU))
	}
	if faults > monitorFaults {
		return fmt.Errorf("a monitor on %s takes %d page faults, at most %d are acceptable: what does it set up at its start?", h.Name(), faults, monitorFaults)
	}
	return nil
}

// usage is what a command took, with the children that it waited for.
type usage struct {
	time   time.Duration // user and system
	faults int64         // pages that were mapped at their first use
}

// usageOf is the median of some runs, because what else runs costs some of them their caches.
func usageOf(ctx context.Context, h *lab.Host, want ocf.Code, argv []string) (usage, error) {
	var times []time.Duration
	var faults []int64
	for range monitorRuns {
		cmd := h.Command(ctx, argv...)
		if err := cmd.Run(); cluster.ExitCode(err) != int(want) {
			return usage{}, fmt.Errorf("%s on %s: %w, want %s", argv[len(argv)-1], h.Name(), err, want)
		}
		used := cmd.ProcessState.SysUsage().(*syscall.Rusage) // wait4(2)
		times = append(times, time.Duration(used.Utime.Nano()+used.Stime.Nano()))
		faults = append(faults, used.Minflt)
	}
	slices.Sort(times)
	slices.Sort(faults)
	return usage{times[len(times)/2], faults[len(faults)/2]}, nil
}

func (s *scene) memory(ctx context.Context, h *lab.Host) error {
	pid, err := cluster.MainPID(ctx, h, cluster.Watcher)
	if err != nil {
		return err
	}
	text, err := h.Run(ctx, "cat", fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(text, "VmRSS:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return fmt.Errorf("cannot find the resident memory of process %d in\n%s", pid, text)
	}
	resident, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	s.Logf("  %s: %d MB resident", h.Name(), resident>>10)
	if resident > supervisorMemory {
		return fmt.Errorf("the supervisor on %s has %d kB resident, at most %d are acceptable", h.Name(), resident, supervisorMemory)
	}
	return nil
}

// standbyStart has Pacemaker stop and start a standby, and asks systemd how long the unit took until PostgreSQL answered.
func (s *scene) standbyStart(ctx context.Context, h *lab.Host) error {
	if err := s.c.Standby(ctx, h, true); err != nil {
		return err
	}
	if err := s.c.AwaitGone(ctx, h); err != nil {
		return err
	}
	if err := s.c.Standby(ctx, h, false); err != nil {
		return err
	}
	if err := s.c.AwaitStandby(ctx, h); err != nil {
		return err
	}
	began, errBegan := microseconds(ctx, h, "InactiveExitTimestampMonotonic")
	ready, errReady := microseconds(ctx, h, "ActiveEnterTimestampMonotonic")
	if err := errors.Join(errBegan, errReady); err != nil {
		return err
	}
	s.Logf("  %s: %.2f s until PostgreSQL answered", h.Name(), (ready - began).Seconds())
	if took := ready - began; took <= 0 || took > standbyStart {
		return fmt.Errorf("the start of a standby took %s, at most %s is acceptable", took, standbyStart)
	}
	return nil
}

func microseconds(ctx context.Context, h *lab.Host, property string) (time.Duration, error) {
	text, err := cluster.Property(ctx, h, cluster.Unit, property)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * time.Microsecond, err
}

// programs counts the programs that a command runs, itself included.
func programs(ctx context.Context, h *lab.Host, argv []string) (int, error) {
	const trace = "/run/pgtwin-trace"
	_, err := h.Run(ctx, append([]string{"strace", "--follow-forks", "--trace=execve,execveat", "--output=" + trace}, argv...)...)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != int(ocf.RunningPromoted)) {
		return 0, err
	}
	text, err := h.Run(ctx, "cat", trace)
	if err != nil {
		return 0, err
	}
	// agentCommand's env replaces itself by the agent: two programs, one process.
	return strings.Count(text, ") = 0\n") - 1, nil
}
