//go:build lab

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// countProcesses runs a command and counts the processes that it is, itself included; threads are none. It traces the command
// and all that it starts (ptrace(2)), and the tracer is a thread, this one.
func countProcesses(cmd *exec.Cmd) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	first := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(first, &status, unix.WALL, nil); err != nil {
		return 0, fmt.Errorf("cannot wait for the first instruction: %w", err)
	}
	const follow = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(first, follow); err != nil {
		return 0, fmt.Errorf("cannot follow the command's children: %w", err)
	}
	count, err := 1, unix.PtraceCont(first, 0)
	for err == nil {
		var pid int
		// Only what this thread traces: others in this process have children of their own.
		pid, err = unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil || !status.Stopped() {
			continue
		}
		event := status.TrapCause()
		if event == unix.PTRACE_EVENT_FORK || event == unix.PTRACE_EVENT_VFORK {
			count++
		}
		signal := 0
		if stop := status.StopSignal(); stop != unix.SIGTRAP && stop != unix.SIGSTOP {
			signal = int(stop)
		}
		if err = unix.PtraceCont(pid, signal); errors.Is(err, unix.ESRCH) {
			err = nil // it was killed meanwhile
		}
	}
	_ = cmd.Wait() // there is nothing left to wait for: this ends what Start has begun
	if !errors.Is(err, unix.ECHILD) {
		return 0, err
	}
	return count, nil
}

func TestCountProcesses(t *testing.T) {
	tests := []struct {
		name string
		argv []string
		want int
	}{
		{"one", []string{"true"}, 1},
		{"itself and two children", []string{"sh", "-c", "true & /bin/true; wait"}, 3},
		{"what a program becomes is no other process", []string{"env", "true"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), tt.argv[0], tt.argv[1:]...)
			cmd.SysProcAttr = &unix.SysProcAttr{}
			got, err := countProcesses(cmd)
			if err != nil || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}
