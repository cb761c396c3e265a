package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Handler answers one request; ctx ends with the caller's patience.
type Handler func(ctx context.Context, verb Verb) Answer

// unstatedPatience bounds a request whose caller did not say how long it waits.
const unstatedPatience = time.Minute

// Listen opens the control socket for root alone, in place of one that a
// killed supervisor left.
func Listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the control socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("cannot open the control socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("cannot protect the control socket: %w", err)
	}
	return listener, nil
}

// Serve answers requests until ctx ends, and returns when the last one is
// answered.
func Serve(ctx context.Context, listener net.Listener, handle Handler, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var callers sync.WaitGroup
	defer callers.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("cannot accept on the control socket: %w", err)
		}
		callers.Go(func() {
			if err := serveOne(ctx, conn, handle); err != nil {
				log.Debug("control request not answered", "error", err)
			}
		})
	}
}

func serveOne(ctx context.Context, conn net.Conn, handle Handler) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var request Request
	if err := json.NewDecoder(conn).Decode(&request); err != nil {
		return err
	}
	if request.Deadline.IsZero() {
		request.Deadline = time.Now().Add(unstatedPatience)
	}
	ctx, cancel := context.WithDeadline(ctx, request.Deadline)
	defer cancel()
	answer := handle(ctx, request.Verb)
	conn.SetWriteDeadline(request.Deadline.Add(time.Second))
	return json.NewEncoder(conn).Encode(answer)
}
