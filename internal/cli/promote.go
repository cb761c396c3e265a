package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
)

const promoteHelp = `Promote is for the emergency in which no host is primary, the one that holds
every acknowledged commit is gone for good, and Pacemaker rightly promotes no
other. It makes this host, which may lack commits, the primary.

Without --accept-data-loss it says what would be lost, and changes nothing.

It does not override the cluster: without quorum, and while a host that is not
fenced may still be writing, no host is promoted. To move the role between hosts
that are well, use Pacemaker (crm resource move).

Exit status:
  0  this host is primary
  1  this host was not promoted`

const promoteExample = `  pgtwin promote
  pgtwin promote postgres-ha --accept-data-loss`

func promoteCommand() *cobra.Command {
	var accept bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use:     "promote [NAME]",
		Short:   "Make this host primary although commits may be lost",
		Long:    promoteHelp,
		Example: promoteExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := oneInstance(args)
			if err != nil {
				return err
			}
			e := emergency{name: name, out: cmd.OutOrStdout(), patience: patience}
			return e.promote(cmd.Context(), accept)
		},
	}
	cmd.Flags().BoolVar(&accept, "accept-data-loss", false, "promote this host")
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to wait for Pacemaker to promote it")
	return cmd
}

// oneInstance is the instance named, or the only one of this host.
func oneInstance(args []string) (string, error) {
	if len(args) > 0 {
		if _, err := ocf.InstanceName(args[0]); err != nil {
			return "", fmt.Errorf("the name %w", err)
		}
		return args[0], nil
	}
	all := instances()
	switch len(all) {
	case 0:
		return "", errors.New("there is no instance on this host")
	case 1:
		return all[0], nil
	}
	return "", fmt.Errorf("there are several instances on this host, name one of %s", strings.Join(all, ", "))
}

// emergency is a promotion that the administrator answers for.
type emergency struct {
	name     string
	out      io.Writer
	patience time.Duration
}

func (e emergency) promote(ctx context.Context, accept bool) error {
	f := gather(ctx, e.name)
	if err := f.mayBeForced(); err != nil {
		return err
	}
	if f.isPrimary() {
		fmt.Fprintf(e.out, "%s is primary already.\n", f.here)
		return nil
	}
	fmt.Fprint(e.out, f.loss())
	if !accept {
		fmt.Fprintf(e.out, "Nothing was changed. To promote %s all the same: pgtwin promote %s --accept-data-loss\n", f.here, e.name)
		return exitError(Degraded)
	}
	return e.force(ctx)
}

// mayBeForced says why the command is not for the present situation.
func (f *facts) mayBeForced() error {
	switch {
	case f.view == nil:
		return fmt.Errorf("cannot promote while Pacemaker does not answer: %w", f.clusterErr)
	case f.instance == nil:
		return fmt.Errorf("cannot promote %s: Pacemaker has not started it on this host (crm_mon -1)", f.name)
	}
	r := newReport(*f)
	if r.Primary != "" && r.Primary != f.here {
		return fmt.Errorf("%s is primary: to move the role, use Pacemaker (crm resource move)", r.Primary)
	}
	return nil
}

func (f *facts) isPrimary() bool {
	st := f.fresh()
	return st != nil && st.Role == ha.Primary
}

// loss says what a promotion of this host may lose.
func (f *facts) loss() string {
	var b strings.Builder
	e := f.view.Epoch
	self := f.member(f.here)
	switch {
	case e.Number == 0:
		fmt.Fprintf(&b, "No promotion is recorded: another host may have later commits than %s.\n", f.here)
	case self != nil && self.InSync == e.Number && f.view.Spare > 0:
		fmt.Fprintf(&b, "%s is recorded as one of the standbys of %s (epoch %d), %d of which may lack any commit: it cannot be told which without the others.\n",
			f.here, e.Node, e.Number, f.view.Spare)
	case self != nil && self.InSync == e.Number:
		fmt.Fprintf(&b, "%s is recorded as holding every acknowledged commit: nothing would be lost.\n", f.here)
	default:
		fmt.Fprintf(&b, "%s was primary (epoch %d, timeline %d) and went on without %s.\n", e.Node, e.Number, e.Timeline, f.here)
	}
	if st := f.fresh(); st != nil && st.Role == ha.Standby {
		fmt.Fprintf(&b, "%s has WAL up to %s on timeline %d", f.here, st.LSN, st.Timeline)
		if !st.Committed.IsZero() {
			fmt.Fprintf(&b, "; its last transaction is of %s (%s ago)",
				st.Committed.Local().Format(time.DateTime), f.now.Sub(st.Committed).Round(time.Second))
		}
		b.WriteString(".\nWhatever was committed after that is lost here.\n")
	}
	for _, m := range f.view.Nodes {
		switch {
		case m.Node == f.here || e.Number == 0 || m.InSync != e.Number && m.Node != e.Node:
		case m.Node != e.Node && f.view.Spare > 0:
			fmt.Fprintf(&b, "%s may hold what is missing here (%s). Bring it back if that can be done.\n", m.Node, membership(m))
		default:
			fmt.Fprintf(&b, "%s holds every acknowledged commit (%s). Bring it back if that can be done.\n", m.Node, membership(m))
		}
	}
	return b.String()
}

func membership(m ha.Membership) string {
	switch {
	case m.Online:
		return "it is a member of the cluster"
	case m.Unclean:
		return "it is lost and not fenced: nothing is promoted before it is"
	}
	return "it is down"
}

// force leaves the note that the loss is accepted, by which the supervisor
// lets Pacemaker promote this host, and waits for it.
func (e emergency) force(ctx context.Context) error {
	note := config.AcceptLoss(e.name)
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return fmt.Errorf("cannot note that the loss is accepted: %w", err)
	}
	// Taken back where it did not lead to a promotion: later it might surprise.
	defer os.Remove(note)
	fmt.Fprintln(e.out, "The loss is accepted; waiting for Pacemaker.")
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	for {
		f := gather(ctx, e.name)
		if f.isPrimary() {
			fmt.Fprintf(e.out, "%s is primary.\n", f.here)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("was not promoted within %s; what is missing: %s", e.patience, strings.Join(newReport(f).Warnings, "; "))
		case <-time.After(redraw):
		}
	}
}
