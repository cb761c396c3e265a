// Command lab boots and handles the hosts that pgtwin's end-to-end tests run on: real systemd, Pacemaker
// and containers on one machine. See package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	// A program that ran on a host has said itself what was wrong; its exit status is ours.
	if exit, ok := errors.AsType[*exitStatus](err); ok {
		return exit.code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// exitStatus carries the exit status of a program on a host.
type exitStatus struct{ code int }

func (e *exitStatus) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// statusOf turns the end of a program on a host into our own: a signal as shells report it.
func statusOf(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitStatus{128 + int(status.Signal())}
	}
	return &exitStatus{exit.ExitCode()}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lab",
		Short: "Boot and handle the hosts that pgtwin is tested on",
		Long: `The lab is a Pacemaker cluster on one machine. Each host (h1, h2, ...) is systemd in namespaces
of its own, with its own disks, cgroup and network interface; 10.77.0.11, .12, ... are their
addresses, which this machine reaches directly. Fencing is real: a host that is fenced loses its
power and stays off until "lab boot".

There is one lab per machine. "lab up" replaces whatever lab is there, also the remains of a run
that was killed. The first "lab up" builds a Debian root file system under /var/cache/pgtwin-lab,
which takes some minutes. Everything here needs root; hack/setup installs what is missing.`,
		Example: `  lab up
  lab exec h1 -- crm_mon -1
  lab power-off h2; lab boot h2
  lab cut h2 --in
  lab down`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(upCommand(), downCommand(), statusCommand(), execCommand(), installCommand(), collectCommand())
	root.AddCommand(hostCommands()...)
	return root
}
