// Package cli is the administrator's command pgtwin: one file per command. It
// shows what is known of the instances on this host. It decides nothing, and
// what it says of PostgreSQL it has from the supervisor and from Pacemaker.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// exitError ends the command with an exit status and without a message.
type exitError int

// Error is for whoever prints it by mistake.
func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs one command and returns the exit status of the process: that of the
// command, or 2 where it could not be carried out.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if exit := exitError(0); errors.As(err, &exit) {
		return int(exit)
	}
	fmt.Fprintln(stderr, "pgtwin:", err)
	return int(Down)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pgtwin",
		Short: "Show the highly available PostgreSQL instances of this host",
		Long: `Pacemaker runs pgtwin as the resource agent ocf:heartbeat:pgtwin. For an
administrator it shows what the instances of this host are doing. To change
something, use Pacemaker's tools (crm or pcs); only the decision to lose data,
which is nobody's but the administrator's, is made here (pgtwin promote).`,
		Example:       "  pgtwin status",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(statusCommand(), historyCommand(), promoteCommand(), versionCommand(), manCommand(), ocfManCommand())
	return cmd
}
