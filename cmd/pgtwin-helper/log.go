package main

import (
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	slogjournal "github.com/systemd/slog-journal"

	"pgtwin/internal/config"
)

// logger writes to the journal, with fields for machines beside the sentence
// for people; where there is no journal, to stderr.
func logger(i config.Instance) *slog.Logger {
	fields := []any{"PGTWIN_INSTANCE", i.Name, "PGTWIN_NODE", i.Node}
	if stream, err := journal.StderrIsJournalStream(); err == nil && stream {
		handler, err := slogjournal.NewHandler(&slogjournal.Options{
			Level:       i.LogLevel,
			ReplaceAttr: upper,
		})
		if err == nil {
			return slog.New(handler).With(fields...)
		}
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: i.LogLevel})).With(fields...)
}

// upper makes a field name that the journal takes: it drops others without a
// word (systemd.journal-fields(7)).
func upper(_ []string, a slog.Attr) slog.Attr {
	if !strings.HasPrefix(a.Key, "PGTWIN_") {
		a.Key = "PGTWIN_" + a.Key
	}
	a.Key = strings.ToUpper(a.Key)
	return a
}
