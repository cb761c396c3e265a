package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pgtwin/internal/ocf"
)

// manCommand is for the build of the package. It does without cobra/doc, whose
// Markdown parser would cost every monitor that Pacemaker starts 2 ms.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual page pgtwin(1) to DIR",
		Example: "  pgtwin man build/man",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := filepath.Join(args[0], "pgtwin.1")
			if err := os.WriteFile(path, []byte(manPage(cmd.Root())), 0o644); err != nil {
				return fmt.Errorf("cannot write the manual page: %w", err)
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

// manPage renders the command and its subcommands as roff, with the man(7)
// macros.
func manPage(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH PGTWIN 1 \"\" \"pgtwin %s\" \"pgtwin\"\n", Version)
	fmt.Fprintf(&b, ".SH NAME\npgtwin \\- %s\n", roff(strings.ToLower(root.Short[:1])+root.Short[1:]))
	b.WriteString(".SH SYNOPSIS\n.B pgtwin\n.I command\n[\n.I arguments\n]\n")
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(root.Long))
	b.WriteString(".SH COMMANDS\n")
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			manCommandSection(&b, cmd)
		}
	}
	b.WriteString(".SH \"SEE ALSO\"\n.BR ocf_heartbeat_pgtwin (7),\n.BR crm_mon (8),\n.BR systemctl (1),\n.BR journalctl (1)\n")
	return b.String()
}

// manCommandSection keeps the lines of the texts as they are: they hold tables.
func manCommandSection(b *strings.Builder, cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(b, ".SS \"%s\"\n", roff(cmd.UseLine()))
	preformatted(b, text)
	if cmd.HasAvailableLocalFlags() {
		b.WriteString(".PP\nOptions:\n")
		preformatted(b, cmd.LocalFlags().FlagUsages())
	}
	if cmd.Example != "" {
		b.WriteString(".PP\nExamples:\n")
		preformatted(b, cmd.Example)
	}
}

func preformatted(b *strings.Builder, text string) {
	fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", roff(strings.TrimRight(text, "\n")))
}

// roff escapes what the formatter would take for its own: backslashes, hyphens
// that are minus signs, and a dot or an apostrophe at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
