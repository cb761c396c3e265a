// Command pgtwin is the OCF resource agent ocf:heartbeat:pgtwin and the
// administrator's command. Called by Pacemaker it carries out one action and
// exits with its code; called by a person it shows the instances.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"pgtwin/internal/agent"
	"pgtwin/internal/cli"
	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
)

const helper = "/usr/bin/pgtwin-helper"

func main() {
	if ocf.IsOCF(os.Environ()) || len(os.Args) == 2 && os.Args[1] == "meta-data" {
		os.Exit(int(act()))
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}

// act answers one request of Pacemaker. What goes to stderr ends up in
// Pacemaker's log and, for the exit reason, in crm_mon.
func act() ocf.Code {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	req := ocf.ParseRequest(os.Args[1:], os.Environ(), host)
	ctx, cancel := req.WithDeadline(ctx)
	defer cancel()
	a := &agent.Agent{
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Helper: helper,
		Config: config.Paths(),
	}
	defer a.Close()
	return ocf.Run(ctx, req, a.Handlers(), os.Stdout, os.Stderr)
}
