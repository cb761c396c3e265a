// Package exporter answers questions about an instance over HTTP: health checks
// for load balancers, with the paths and status codes of Patroni, and metrics
// for Prometheus.
//
// It knows one file, the status that the supervisor writes, and nothing of
// PostgreSQL, Pacemaker or systemd's units: it can neither start nor change
// anything, and needs no privilege.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
)

// grace is how long answers that are under way may take once the service ends.
const grace = 3 * time.Second

// Command is `pgtwin-helper status-server NAME`. It serves the sockets that
// systemd passes and ends without an error when nobody has asked for a while.
func Command() *cobra.Command {
	var idleExit time.Duration
	cmd := &cobra.Command{
		Use:     "status-server NAME",
		Short:   "Answer health checks and metrics over HTTP on the sockets that systemd passes",
		Example: "  systemd-socket-activate -l 8008 pgtwin-helper status-server postgres-ha",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), args[0], idleExit)
		},
	}
	cmd.Flags().DurationVar(&idleExit, "idle-exit", time.Minute, "exit after this time without a request; 0: never")
	return cmd
}

func run(ctx context.Context, name string, idleExit time.Duration) error {
	if _, err := ocf.InstanceName(name); err != nil {
		return fmt.Errorf("cannot serve the status of an instance: name %w", err)
	}
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("cannot use the sockets that systemd passed: %w", err)
	}
	listeners = slices.DeleteFunc(listeners, func(l net.Listener) bool { return l == nil }) // descriptors that are no sockets
	if len(listeners) == 0 {
		return fmt.Errorf("cannot serve the status of %s: systemd passed no socket, start pgtwin@%s.socket instead", name, name)
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("cannot tell systemd that the status service is ready: %w", err)
	}
	return serve(ctx, listeners, Handler(config.StatusFile(name)), idleExit)
}

// serve answers on all listeners until ctx ends or nothing has been asked for
// the time of idleExit. What is under way then is still answered; a connection
// that comes later waits in the socket, which stays with systemd.
func serve(ctx context.Context, listeners []net.Listener, handler http.Handler, idleExit time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	idle := newIdle(idleExit, stop)
	server := &http.Server{
		Handler:           idle.watch(handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	defer serving.Wait()
	for _, l := range listeners {
		serving.Go(func() { failed <- server.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("cannot accept on a socket of the status service: %w", err)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if server.Shutdown(ending) != nil {
		return errors.Join(err, server.Close())
	}
	return err
}

// idle calls expired once no request has been in flight for a time.
type idle struct {
	after time.Duration

	mu    sync.Mutex
	busy  int // requests in flight
	timer *time.Timer
}

// newIdle starts the clock at once; with an after of 0 it never runs.
func newIdle(after time.Duration, expired func()) *idle {
	i := &idle{after: after}
	if after > 0 {
		i.timer = time.AfterFunc(after, expired)
	}
	return i
}

func (i *idle) watch(next http.Handler) http.Handler {
	if i.timer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.begin()
		defer i.end()
		next.ServeHTTP(w, r)
	})
}

func (i *idle) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy++
	i.timer.Stop()
}

func (i *idle) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy--
	if i.busy == 0 {
		i.timer.Reset(i.after)
	}
}
