package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of pgtwin",
		Example: "  pgtwin version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version is what the Go tool has built into the program: a package's build
// from a source archive has no revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "pgtwin, version not known"
	}
	text := "pgtwin " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += ", revision " + s.Value
		}
	}
	return text + ", " + info.GoVersion
}
