package units

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// privateSocket leads to systemd itself, without a bus between: it works while
// dbus-daemon is down, for root only.
const privateSocket = "unix:path=/run/systemd/private"

// Systemd is a connection to the system's service manager. It connects again
// by itself after a `systemctl daemon-reexec`. Its methods may be called from
// several goroutines.
type Systemd struct {
	mu   sync.Mutex
	link *link
}

// link is one connection: calls go through it as they are, jobs through
// go-systemd, which knows how to wait for them.
type link struct {
	*systemd.Conn
	calls *dbus.Conn
	close context.CancelFunc
}

// Connect connects to systemd. The connection outlives ctx, which bounds the
// connecting alone.
func Connect(ctx context.Context) (*Systemd, error) {
	l, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return &Systemd{link: l}, nil
}

// Close ends the connection.
func (s *Systemd) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.Close()
	s.link.close()
}

// connection returns the connection, a new one where the last has broken.
func (s *Systemd) connection(ctx context.Context) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link.Connected() {
		return s.link, nil
	}
	l, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	s.link.Close()
	s.link.close()
	s.link = l
	return l, nil
}

// dial tries systemd's own socket, then the system bus.
func dial(ctx context.Context) (*link, error) {
	direct, errDirect := dialBus(ctx, func(o ...dbus.ConnOption) (*dbus.Conn, error) {
		return dbus.Dial(privateSocket, o...)
	}, false)
	if errDirect == nil {
		return direct, nil
	}
	bus, errBus := dialBus(ctx, dbus.SystemBusPrivate, true)
	if errBus == nil {
		return bus, nil
	}
	return nil, fmt.Errorf("cannot connect to systemd: %w", errors.Join(errDirect, errBus))
}

// dialBus opens the two connections go-systemd wants, one for calls and one for
// signals. godbus closes a connection when the context it was made with ends,
// so they get one of their own, which follows ctx only while connecting.
func dialBus(ctx context.Context, open func(...dbus.ConnOption) (*dbus.Conn, error), hello bool) (*link, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	connecting := context.AfterFunc(ctx, end)

	l := &link{close: end}
	var err error
	l.Conn, err = systemd.NewConnection(func() (*dbus.Conn, error) {
		c, err := open(dbus.WithContext(life))
		if err != nil {
			return nil, err
		}
		if err := greet(c, hello); err != nil {
			c.Close()
			return nil, err
		}
		if l.calls == nil {
			l.calls = c // the first is the one for calls
		}
		return c, nil
	})
	if err == nil && !connecting() {
		l.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	return l, nil
}

// greet authenticates by uid: a look-up of the user's name could hang. A bus
// wants a Hello, systemd's own socket does not know it.
func greet(c *dbus.Conn, hello bool) error {
	if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return err
	}
	if hello {
		return c.Hello()
	}
	return nil
}

// pause is the time between two tries to reach systemd.
const pause = 50 * time.Millisecond

// retry does what may be done twice until it succeeds or fails for another
// reason than a lost connection: systemd drops every call when it executes
// itself anew (`systemctl daemon-reexec`, as package updates do).
func (s *Systemd) retry(ctx context.Context, do func(*link) error) error {
	for {
		l, err := s.connection(ctx)
		if err == nil {
			err = do(l)
		}
		if err == nil || ctx.Err() != nil || !lost(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// lost says whether an error means that no answer came, rather than that the
// answer was no.
func lost(err error) bool {
	var answer dbus.Error
	if errors.As(err, &answer) {
		switch answer.Name {
		case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected",
			"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
			return true
		}
		return false
	}
	for _, gone := range []error{dbus.ErrClosed, io.EOF, syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ENOENT} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// Reload makes systemd read its unit files again. It takes a few tenths of a
// second on a large host, for everybody.
func (s *Systemd) Reload(ctx context.Context) error {
	err := s.retry(ctx, func(l *link) error { return l.ReloadContext(ctx) })
	if err != nil {
		return fmt.Errorf("cannot make systemd read its units again: %w", err)
	}
	return nil
}

// ResetFailed forgets that a unit has failed, and how often it was started. A
// unit that systemd does not have in memory has nothing to forget.
func (s *Systemd) ResetFailed(ctx context.Context, unit string) error {
	err := s.retry(ctx, func(l *link) error { return l.ResetFailedUnitContext(ctx, unit) })
	if err != nil && !noSuchUnit(err) {
		return fmt.Errorf("cannot reset the failed state of %s: %w", unit, err)
	}
	return nil
}

// noSuchUnit says whether systemd has neither the unit in memory nor a file
// for it.
func noSuchUnit(err error) bool {
	var answer dbus.Error
	return errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.NoSuchUnit"
}
