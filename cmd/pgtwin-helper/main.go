// Command pgtwin-helper is what the systemd units of pgtwin run. It is not
// meant to be called by hand, except for pull and check.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/exporter"
	"pgtwin/internal/instance"
	"pgtwin/internal/ocf"
	"pgtwin/internal/supervisor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtwin-helper:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode hands a failure's OCF code to the agent.
func exitCode(err error) int {
	if failure := (*instance.Failure)(nil); errors.As(err, &failure) {
		return int(failure.Code)
	}
	return int(ocf.ErrGeneric)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "pgtwin-helper",
		Short:         "What pgtwin's systemd units run",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(
		forInstance("run NAME", "Prepare the data directory and start PostgreSQL as a standby (ExecStart)", run),
		forInstance("stop NAME", "Shut PostgreSQL down (ExecStop)", stopServer),
		forInstance("cleanup NAME", "Make sure that nothing is left (ExecStopPost)", cleanup),
		forInstance("supervise NAME", "Watch the instance", supervise),
		forInstance("look NAME", "Print PostgreSQL's state as JSON", look),
		forInstance("pull NAME", "Pull the container image of an instance", pull),
		checkCommand(),
		exporter.Command(),
	)
	return cmd
}

func forInstance(use, short string, do func(context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return do(cmd.Context(), args[0]) },
	}
}

func run(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	return instance.New(i, cluster.New(i.Resource, i.Name, i.Node), log).Run(ctx)
}

func stopServer(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	return instance.Stop(ctx, i, log)
}

func cleanup(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	return instance.Cleanup(ctx, i, log)
}

func supervise(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	s := supervisor.Supervisor{Instance: i, Cluster: cluster.New(i.Resource, i.Name, i.Node), Log: log}
	return s.Run(ctx)
}

func look(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return json.NewEncoder(os.Stdout).Encode(supervisor.Look(ctx, i, log))
}

func pull(ctx context.Context, name string) error {
	i, log, err := open(name)
	if err != nil {
		return err
	}
	return instance.Pull(ctx, i, log)
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check whether this host can start the instance described in FILE",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := config.ReadInstanceFile(args[0])
			if err != nil {
				return err
			}
			return instance.Check(cmd.Context(), i, logger(i))
		},
	}
}

func open(name string) (config.Instance, *slog.Logger, error) {
	i, err := config.ReadInstance(name)
	return i, logger(i), err
}
