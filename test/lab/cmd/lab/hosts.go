package main

import (
	"context"

	"github.com/spf13/cobra"

	"pgtwin/test/lab"
)

// hostCommands returns the commands that do one thing to one host.
func hostCommands() []*cobra.Command {
	return []*cobra.Command{
		hostCommand("power-off", "Take a host's power: its link first, then every process at once", (*lab.Host).PowerOff),
		hostCommand("boot", "Switch on a host that is off; it keeps its disks and joins the cluster again", (*lab.Host).Boot),
		cutCommand(),
		hostCommand("heal", "End a cut", (*lab.Host).Heal),
		hostCommand("freeze", "Stop every process of a host where it is, as a hang would", (*lab.Host).Freeze),
		hostCommand("thaw", "Let a frozen host go on", (*lab.Host).Thaw),
	}
}

func hostCommand(name, short string, do func(*lab.Host, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use:   name + " HOST",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHost(args[0])
			if err != nil {
				return err
			}
			return do(h, cmd.Context())
		},
	}
}

func cutCommand() *cobra.Command {
	var in, out bool
	cut := func(h *lab.Host, ctx context.Context) error {
		direction := lab.Both
		switch {
		case in && !out:
			direction = lab.In
		case out && !in:
			direction = lab.Out
		}
		return h.Cut(ctx, direction)
	}
	c := hostCommand("cut", "Cut a host off the network, where it cannot see it", cut)
	c.Long = `Drops the host's packets outside the host: its link stays up. Both ways, unless one is named.
A cut host can still fence others: fencing is out of band.`
	c.Flags().BoolVar(&in, "in", false, "only what goes to the host: it hears nothing")
	c.Flags().BoolVar(&out, "out", false, "only what comes from the host: it is not heard")
	return c
}
