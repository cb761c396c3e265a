package units

import (
	"context"
	"fmt"
	"time"
)

// Verb is what a job does to a unit.
type Verb string

// The verbs.
const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart"
)

// ignoreDependencies is the mode of every job of ours. Our units are ordered
// before pacemaker.service; while Pacemaker stops, a job in any other mode waits
// for the end of that, and Pacemaker for the job. What the unit needs is not
// pulled in either.
const ignoreDependencies = "ignore-dependencies"

// JobError is a job that was carried out and did not lead to the state wanted.
type JobError struct {
	Unit   string
	Verb   Verb
	Result string // systemd's word: done, failed, canceled, timeout, dependency, skipped; "" not known
	State  State  // the unit's state afterwards
}

// Error says what became of the job and the unit.
func (e *JobError) Error() string {
	return fmt.Sprintf("cannot %s %s: the job's result is %q and the unit is %s; see journalctl -u %s",
		e.Verb, e.Unit, e.Result, e.State, e.Unit)
}

// Start starts a unit and waits until it is up; a service of Type=notify is up
// when it says so. It fails where the unit is not active afterwards, as with a
// condition that is not met. When ctx ends first, the job is cancelled: it will
// not start the unit later. A service that was starting already goes on.
func (s *Systemd) Start(ctx context.Context, unit string) error { return s.do(ctx, Start, unit) }

// Stop stops a unit and waits until it is down. A unit that is not running, or
// not even there, is stopped. When ctx ends first, the job is cancelled, but a service that was
// stopping already goes on.
func (s *Systemd) Stop(ctx context.Context, unit string) error { return s.do(ctx, Stop, unit) }

// Restart stops a unit, if it is running, and starts it, as Start does.
func (s *Systemd) Restart(ctx context.Context, unit string) error { return s.do(ctx, Restart, unit) }

// Queue gives systemd a job and returns without waiting for its result.
func (s *Systemd) Queue(ctx context.Context, verb Verb, unit string) error {
	_, err := s.queue(ctx, verb, unit, nil)
	return err
}

func (s *Systemd) do(ctx context.Context, verb Verb, unit string) error {
	done := make(chan string, 1) // go-systemd must never wait for us to read it
	id, err := s.queue(ctx, verb, unit, done)
	if verb == Stop && noSuchUnit(err) {
		return s.reached(ctx, verb, unit, "")
	}
	if err != nil {
		return err
	}
	result, err := s.await(ctx, unit, id, done)
	if err != nil {
		s.cancel(ctx, id)
		return fmt.Errorf("cannot wait for the %s of %s: %w", verb, unit, err)
	}
	return s.reached(ctx, verb, unit, result)
}

// reached looks at the unit after a job. The job's result proves nothing: a
// condition that is not met is "done" too.
func (s *Systemd) reached(ctx context.Context, verb Verb, unit, result string) error {
	state, err := s.State(ctx, unit)
	if err != nil {
		return err
	}
	as := state.Running
	if verb == Stop {
		as = state.Stopped
	}
	if !as() {
		return &JobError{Unit: unit, Verb: verb, Result: result, State: state}
	}
	return nil
}

// grace is how long a call that must not be lost may outlast its context.
const grace = 2 * time.Second

// beyond is a context that survives the end of ctx by the grace.
func beyond(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(grace)
	if deadline, ok := ctx.Deadline(); ok && deadline.After(time.Now()) {
		end = deadline.Add(grace)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

// queue gives systemd the job and returns its id. Once asked, it does not leave
// before it knows the id: a job nobody knows of could not be cancelled. Asking
// twice, after a lost connection, merges with the job that may be there.
func (s *Systemd) queue(ctx context.Context, verb Verb, unit string, done chan<- string) (id int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("cannot %s %s: %w", verb, unit, context.Cause(ctx))
	}
	asking, cancel := beyond(ctx)
	defer cancel()

	err = s.retry(ctx, func(l *link) error {
		var err error
		switch verb {
		case Start:
			id, err = l.StartUnitContext(asking, unit, ignoreDependencies, done)
		case Stop:
			id, err = l.StopUnitContext(asking, unit, ignoreDependencies, done)
		default:
			id, err = l.RestartUnitContext(asking, unit, ignoreDependencies, done)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot %s %s: %w", verb, unit, err)
	}
	return id, nil
}

// recheck is how often a job that is waited for is looked up: its end is
// announced by a signal, which is lost when systemd executes itself anew.
const recheck = time.Second

// await waits for the end of a job. The result is "" where it was missed.
func (s *Systemd) await(ctx context.Context, unit string, id int, done <-chan string) (result string, err error) {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case result := <-done:
			return result, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-tick.C:
		}
		state, err := s.State(ctx, unit)
		if err == nil && state.Job != id {
			return received(done), nil
		}
	}
}

// received is the result if it has come in the meantime.
func received(done <-chan string) string {
	select {
	case result := <-done:
		return result
	default:
		return ""
	}
}

// cancel takes a job back, which go-systemd cannot. That it has ended by now,
// or cannot be cancelled any more, is as good.
func (s *Systemd) cancel(ctx context.Context, id int) {
	ctx, stop := beyond(ctx)
	defer stop()
	l, err := s.connection(ctx)
	if err != nil {
		return
	}
	manager := l.calls.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.CancelJob", 0, uint32(id))
}
