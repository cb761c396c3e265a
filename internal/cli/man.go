package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"pgtwin/internal/ocf"
)

// manCommand is for the build of the package. SOURCE_DATE_EPOCH sets the date
// of the pages.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages of the commands to DIR",
		Example: "  pgtwin man /usr/share/man/man8",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			header := &doc.GenManHeader{Title: "PGTWIN", Section: "8", Source: "pgtwin", Manual: "pgtwin"}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("cannot write the manual pages to %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func ocfManCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ocf-man",
		Short:   "Print the manual page of the resource agent, ocf_heartbeat_pgtwin(7)",
		Example: "  pgtwin ocf-man >ocf_heartbeat_pgtwin.7",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), ocf.ManPage())
			return err
		},
	}
}
