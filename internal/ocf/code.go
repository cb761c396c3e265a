// Package ocf speaks the Open Cluster Framework's resource agent API 1.1, as
// Pacemaker uses it: a request arrives as one argument and an environment, the
// answer is an exit code and a reason.
//
// It knows the protocol and one table of parameters, from which come the
// metadata, the defaults, the validation and the manual page. It refuses to
// know what the parameters are for: nothing here touches a database, a host or
// a cluster, and only the standard library is imported.
package ocf

import (
	"errors"
	"fmt"
)

// Code is the exit code of a resource agent.
type Code int

// The exit codes of OCF 1.1, with what Pacemaker does about them.
const (
	Success          Code = 0   // done, or for monitor: running, not promoted
	ErrGeneric       Code = 1   // tried again, here or elsewhere
	ErrArgs          Code = 2   // not tried again on this node
	ErrUnimplemented Code = 3   // not tried again on this node
	ErrPerm          Code = 4   // not tried again on this node
	ErrInstalled     Code = 5   // not tried again on this node
	ErrConfigured    Code = 6   // the resource is stopped on every node
	NotRunning       Code = 7   // monitor only
	RunningPromoted  Code = 8   // monitor only
	FailedPromoted   Code = 9   // demoted, stopped, started, promoted somewhere
	Degraded         Code = 190 // as Success, with a remark
	DegradedPromoted Code = 191 // as RunningPromoted, with a remark
)

// String is the code's name in the standard.
func (c Code) String() string {
	switch c {
	case Success:
		return "OCF_SUCCESS"
	case ErrGeneric:
		return "OCF_ERR_GENERIC"
	case ErrArgs:
		return "OCF_ERR_ARGS"
	case ErrUnimplemented:
		return "OCF_ERR_UNIMPLEMENTED"
	case ErrPerm:
		return "OCF_ERR_PERM"
	case ErrInstalled:
		return "OCF_ERR_INSTALLED"
	case ErrConfigured:
		return "OCF_ERR_CONFIGURED"
	case NotRunning:
		return "OCF_NOT_RUNNING"
	case RunningPromoted:
		return "OCF_RUNNING_PROMOTED"
	case FailedPromoted:
		return "OCF_FAILED_PROMOTED"
	case Degraded:
		return "OCF_DEGRADED"
	case DegradedPromoted:
		return "OCF_DEGRADED_PROMOTED"
	default:
		return fmt.Sprintf("OCF code %d", int(c))
	}
}

// permitted is the code that an action may really exit with.
//
// ErrConfigured makes Pacemaker stop every instance of a clone, the healthy
// primary included, whichever node and action it came from (Pacemaker
// Administration, "How Pacemaker Interprets OCF Return Codes": fatal). So it is
// left to validate-all, which no running resource depends on. A start with
// wrong parameters fails on its node alone; any other action found the resource
// running under the same parameters before, and failing softly is enough.
func (c Code) permitted(action string) Code {
	switch {
	case c != ErrConfigured || action == "validate-all":
		return c
	case action == "start":
		return ErrArgs
	default:
		return ErrGeneric
	}
}

// Error is a failure that knows its exit code.
type Error struct {
	Code Code
	Err  error
}

// Error is the text of the failure alone; the code is not for people.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the failure itself.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error, formatting as fmt.Errorf does, %w included.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// CodeOf is the exit code that an error asks for: Success for nil, the code of
// the first Error in its chain, ErrGeneric for all others, an expired deadline
// included.
func CodeOf(err error) Code {
	var coded *Error
	switch {
	case err == nil:
		return Success
	case errors.As(err, &coded):
		return coded.Code
	default:
		return ErrGeneric
	}
}
