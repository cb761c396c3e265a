package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
)

const historyHelp = `History shows what this host has seen of an instance, oldest first: promotions
on any host, crashes of PostgreSQL here, how this host became a standby again and
how long that took, and what it lost.

An old primary can have committed what its successor never received: with
rep_mode=async, or after pgtwin promote --accept-data-loss. Before the rewind or
the clone that discards it, it is counted, and the WAL is kept in PGDATA.lost-TIME
beside the data directory (lost_wal_keep_size in pgtwin.toml; the newest three).
pg_waldump reads it. Numbers are exact where all of that WAL was there, and
otherwise begin with "at least". Times of commits are in UTC.`

const historyExample = `  pgtwin history
  pgtwin history postgres-ha --limit 0
  pgtwin history --output json | jq '.[] | select(.event == "lost")'`

func historyCommand() *cobra.Command {
	var output string
	var limit int
	cmd := &cobra.Command{
		Use:     "history [NAME]",
		Short:   "Show promotions, crashes, rejoins and what was lost",
		Long:    historyHelp,
		Example: historyExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output is table or json, not %q", output)
			}
			name, err := oneInstance(args)
			if err != nil {
				return err
			}
			return showHistory(cmd.OutOrStdout(), config.HistoryFile(name), output == "json", limit)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return instances(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "how many events, the newest ones; 0: all")
	return cmd
}

func showHistory(out io.Writer, path string, asJSON bool, limit int) error {
	events, err := control.ReadHistory(path)
	if err != nil {
		return fmt.Errorf("cannot read the history: %w", err)
	}
	if limit > 0 {
		events = events[max(0, len(events)-limit):]
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(append([]control.Event{}, events...)) // [] and not null
	}
	_, err = io.WriteString(out, historyTable(events))
	return err
}

func historyTable(events []control.Event) string {
	if len(events) == 0 {
		return "Nothing has happened yet.\n"
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s  %-9s  %s\n", e.At.Local().Format(time.DateTime), e.Kind, inWords(e))
	}
	return b.String()
}

func inWords(e control.Event) string {
	switch {
	case e.Kind == control.EventPromotion:
		return fmt.Sprintf("%s was promoted: epoch %d, timeline %d from %s on", e.Node, e.Epoch, e.Timeline, e.LSN)
	case e.Kind == control.EventLost && e.Loss != nil:
		return e.Loss.Sentence(e.Node)
	case e.Kind == control.EventRejoin:
		return fmt.Sprintf("standby after %.1f s by %s: %s", e.Seconds, e.Course, e.Why)
	}
	return e.Why
}
