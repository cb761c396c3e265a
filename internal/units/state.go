package units

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// State is what systemd knows of a unit. The fields are its properties
// (org.freedesktop.systemd1(5)); those of services are zero for other units.
type State struct {
	LoadState     string // loaded, not-found, bad-setting, error, masked
	ActiveState   string // active, reloading, inactive, failed, activating, deactivating, maintenance
	SubState      string // for services: running, start, stop-sigterm, auto-restart, ...
	UnitFileState string // enabled, static, ...; "" where there is no unit file
	InvocationID  string // 32 hexadecimal digits, another for every start; "" when never started
	ControlGroup  string // relative to the root of the hierarchy; "" when there is none

	Result         string // why the last run ended: success, exit-code, signal, timeout, exec-condition, ...
	MainPID        int    // 0 when there is none
	StatusText     string // the service's own words (STATUS=)
	ExecMainCode   int    // how the main process ended: CLD_EXITED and so on (sigaction(2)); 0 when it did not
	ExecMainStatus int    // its exit status or signal
	NRestarts      int    // restarts by systemd

	Job int // id of the job that waits or runs for the unit; 0 when there is none
}

// Running says whether the unit is up or on its way up. A unit that waits for
// systemd to restart it counts as running.
func (s State) Running() bool {
	switch s.ActiveState {
	case "active", "reloading", "activating", "refreshing":
		return true
	}
	return false
}

// Stopped says whether the unit is down for certain, as far as systemd knows. It
// says nothing of processes that were left behind: see CgroupProcesses.
func (s State) Stopped() bool { return s.ActiveState == "inactive" || s.ActiveState == "failed" }

// Killed says whether the last run was ended by a signal that the service did
// not answer itself: SIGKILL, a fault of its own, or the lack of memory.
func (s State) Killed() bool {
	return s.Result == "signal" || s.Result == "core-dump" || s.Result == "oom-kill"
}

// String is the state in the words of `systemctl status`.
func (s State) String() string {
	if s.LoadState != "loaded" {
		return s.ActiveState + " (" + s.LoadState + ")"
	}
	if s.Result != "" && s.Result != "success" {
		return fmt.Sprintf("%s (%s, result: %s)", s.ActiveState, s.SubState, s.Result)
	}
	return fmt.Sprintf("%s (%s)", s.ActiveState, s.SubState)
}

// State looks at a unit. While systemd cannot be reached it keeps trying until
// ctx ends: an error never reads as a unit that is inactive. One that systemd
// does not know is inactive, and LoadState says so.
func (s *Systemd) State(ctx context.Context, unit string) (State, error) {
	var properties map[string]any
	err := s.retry(ctx, func(l *link) (err error) {
		// Unit and Service properties in one round trip.
		properties, err = l.GetAllPropertiesContext(ctx, unit)
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("cannot look at %s: %w", unit, err)
	}
	state := parse(properties)
	if state.ActiveState == "" {
		return State{}, fmt.Errorf("cannot look at %s: systemd did not say whether it is active", unit)
	}
	return state, nil
}

func parse(properties map[string]any) State {
	text := func(name string) string { s, _ := properties[name].(string); return s }
	return State{
		LoadState:     text("LoadState"),
		ActiveState:   text("ActiveState"),
		SubState:      text("SubState"),
		UnitFileState: text("UnitFileState"),
		InvocationID:  hexadecimal(properties["InvocationID"]),
		ControlGroup:  text("ControlGroup"),

		Result:         text("Result"),
		MainPID:        number(properties["MainPID"]),
		StatusText:     text("StatusText"),
		ExecMainCode:   number(properties["ExecMainCode"]),
		ExecMainStatus: number(properties["ExecMainStatus"]),
		NRestarts:      number(properties["NRestarts"]),

		Job: job(properties["Job"]),
	}
}

func hexadecimal(property any) string {
	id, _ := property.([]byte)
	return hex.EncodeToString(id)
}

func number(property any) int {
	switch n := property.(type) {
	case uint32:
		return int(n)
	case int32:
		return int(n)
	}
	return 0
}

// job reads the pair of a job's id and object path.
func job(property any) int {
	var id uint32
	var path dbus.ObjectPath
	pair, _ := property.([]any)
	if dbus.Store(pair, &id, &path) != nil {
		return 0
	}
	return int(id)
}
