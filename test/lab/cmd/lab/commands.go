package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"pgtwin/test/lab"
)

func upCommand() *cobra.Command {
	var o lab.Options
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a new lab and wait until its cluster is complete",
		Long: `Starts a new lab in the place of any earlier one and returns when Pacemaker has a DC, every node is
online and fencing works. The hosts go on without this command until "lab down".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			o.Log = cmd.ErrOrStderr()
			l, err := lab.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(o.Log, "lab: up in %.1f s\n", time.Since(began).Seconds())
			return printStatus(cmd, l)
		},
	}
	c.Flags().IntVar(&o.Hosts, "hosts", 2, "number of hosts")
	c.Flags().StringVar(&o.Base, "base", "trixie", "Debian release of the hosts: trixie or bookworm")
	c.Flags().StringVar(&o.Install, "install", "", "directory tree laid over / of each host before it boots")
	c.Flags().DurationVar(&o.FenceDelay, "fence-delay", 0, "delay of fencing the first host, which makes it win a mutual shoot-out")
	return c
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab and remove everything of it but the cached root file system",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return lab.Clear(cmd.Context()) },
	}
}

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the hosts and the cluster as the first running one sees it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open()
			if err != nil {
				return err
			}
			return printStatus(cmd, l)
		},
	}
}

func printStatus(cmd *cobra.Command, l *lab.Lab) error {
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "HOST\tADDRESS\tPOWER\n")
	var running *lab.Host
	for _, h := range l.Hosts() {
		power := "off"
		if h.Running() {
			power = "on"
			if h.Frozen() {
				power = "frozen"
			} else if running == nil {
				running = h
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", h.Name(), h.Addr(), power)
	}
	if err := table.Flush(); err != nil || running == nil {
		return err
	}
	out, err := running.Run(cmd.Context(), "crm_mon", "-1", "-A", "-r", "-f")
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\n%s", out)
	return nil
}

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "exec HOST -- COMMAND [ARG...]",
		Short:   "Run a program on a host; input, output and exit status are its own",
		Example: "  lab exec h1 -- journalctl -b -u pacemaker\n  lab exec h2 -- bash",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHost(args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			_, err = unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
			interactive := err == nil
			if interactive {
				ctx = context.WithoutCancel(ctx) // the keys for interrupt and quit are the program's own
			}
			c := h.Command(ctx, args[1:]...)
			if c.Err != nil {
				return c.Err
			}
			if interactive {
				c.SysProcAttr.Setpgid = false // only the terminal's foreground group may read from it
				c.Env = append(c.Env, "TERM="+os.Getenv("TERM"))
			}
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			return statusOf(c.Run())
		},
	}
}

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install DIR",
		Short: "Copy a directory tree over / of every running host, for development",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open()
			if err != nil {
				return err
			}
			return l.Install(cmd.Context(), args[0])
		},
	}
}

func collectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "collect DIR",
		Short: "Save every host's journal, cluster state and pgtwin's state files, without secrets",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open()
			if err != nil {
				return err
			}
			return l.Collect(cmd.Context(), args[0])
		},
	}
}

func openHost(name string) (*lab.Host, error) {
	l, err := lab.Open()
	if err != nil {
		return nil, err
	}
	return l.Host(name)
}
