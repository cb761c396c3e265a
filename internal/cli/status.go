package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pgtwin/internal/ocf"
)

// redraw is the period of --watch.
const redraw = time.Second

const statusHelp = `Status shows an instance on all hosts of the cluster as far as this host knows
it: from the supervisor and systemd of this host and from Pacemaker. It works,
and says what is missing, while any of them is down, and PostgreSQL too.
Without NAME it shows every instance of this host.

Every line that begins with ! is something to look after.

Exit status:
  0  a primary runs and there is nothing to look after
  1  a primary runs, but see the lines that begin with !
  2  there is no primary, or it is not known whether there is one

The columns: TIMELINE and LSN are PostgreSQL's position in its history. LAG is
what a standby has not replayed yet. SYNC is sync where commits wait for the
standby; on other hosts than the primary it is the cluster's record: in sync, or
behind where commits may be missing. SCORE is the promotion score.`

const statusExample = `  pgtwin status
  pgtwin status postgres-ha --watch
  pgtwin status --output json | jq '.[].primary'`

func statusCommand() *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:     "status [NAME]",
		Short:   "Show what the instances are doing on all hosts",
		Long:    statusHelp,
		Example: statusExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := newPage(cmd.OutOrStdout(), output, args)
			if err != nil {
				return err
			}
			if watch {
				return page.watch(cmd.Context())
			}
			return page.show(cmd.Context())
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return instances(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "draw again every second until interrupted")
	return cmd
}

// page is the output of status.
type page struct {
	out      io.Writer
	json     bool
	terminal bool
	name     string // "": every instance of this host
}

func newPage(out io.Writer, output string, args []string) (page, error) {
	p := page{out: out, json: output == "json", terminal: isTerminal(out)}
	if output != "table" && output != "json" {
		return page{}, fmt.Errorf("--output is table or json, not %q", output)
	}
	if len(args) > 0 {
		if _, err := ocf.InstanceName(args[0]); err != nil {
			return page{}, fmt.Errorf("the name %w", err)
		}
		p.name = args[0]
	}
	return p, nil
}

// show gathers and prints once. Its error is the exit status.
func (p page) show(ctx context.Context) error {
	reports := p.gather(ctx)
	if err := p.print(reports); err != nil {
		return fmt.Errorf("cannot write the status: %w", err)
	}
	return exit(reports)
}

// watch shows again and again; the exit status is that of the last complete
// look.
func (p page) watch(ctx context.Context) error {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	var last error
	for {
		reports := p.gather(ctx)
		if ctx.Err() != nil {
			return last
		}
		if p.terminal {
			fmt.Fprint(p.out, "\x1b[H\x1b[2J") // home, clear
		}
		if err := p.print(reports); err != nil {
			return fmt.Errorf("cannot write the status: %w", err)
		}
		last = exit(reports)
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

func (p page) gather(ctx context.Context) []Report {
	names := []string{p.name}
	if p.name == "" {
		names = instances()
	}
	reports := []Report{}
	for _, name := range names {
		reports = append(reports, newReport(gather(ctx, name)))
	}
	return reports
}

func (p page) print(reports []Report) error {
	if p.json {
		encoder := json.NewEncoder(p.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(reports)
	}
	if len(reports) == 0 {
		_, err := fmt.Fprintln(p.out, "There is no instance on this host.")
		return err
	}
	var errs []error
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		errs = append(errs, r.writeTable(p.out, p.terminal && os.Getenv("NO_COLOR") == ""))
	}
	return errors.Join(errs...)
}

// exit is the exit status of the instance that is worst off.
func exit(reports []Report) error {
	worst := Down
	for i, r := range reports {
		if i == 0 || r.Health > worst {
			worst = r.Health
		}
	}
	if worst == Healthy {
		return nil
	}
	return exitError(worst)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
