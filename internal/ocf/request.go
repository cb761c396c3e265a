package ocf

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Request is what Pacemaker asks for, as read from the command line and the
// environment. Nothing in it has been validated; Parameters does that.
type Request struct {
	Action     string        // "status" has become "monitor"
	Resource   string        // id of the resource, without a clone's ":N"
	Node       string        // the cluster's name of this node
	Interval   time.Duration // of a recurring action, else 0
	Timeout    time.Duration // Pacemaker kills the agent after this
	Probe      bool          // a monitor that asks whether the resource happens to be active
	CheckLevel int           // OCF_CHECK_LEVEL; 0 forbids validate-all a look at the host
	Notify     Notify
	Params     map[string]string // OCF_RESKEY_NAME as given, without the cluster's own

	reasonPrefix string
}

// Notify is what the cluster says about a clone's transition. Type and
// Operation are set in a notify action only. The lists hold node names; they
// describe the transition in start, stop, promote and demote too where the
// clone has notifications enabled, and the states (Active, Promoted,
// Unpromoted) are those before the transition.
type Notify struct {
	Type                         string // pre or post
	Operation                    string // start, stop, promote or demote
	Start, Stop, Promote, Demote []string
	Active, Promoted, Unpromoted []string
}

const (
	paramPrefix = "OCF_RESKEY_"
	metaPrefix  = paramPrefix + "CRM_meta_"
)

// IsOCF says whether the environment is that of a resource agent: then the
// first argument is an action, else it is an administrator's command.
func IsOCF(environ []string) bool {
	for _, e := range environ {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "OCF_RESOURCE_INSTANCE", "OCF_RA_VERSION_MAJOR", "OCF_ROOT":
			return true
		}
	}
	return false
}

// ParseRequest reads a request from the arguments (without the program's name)
// and the environment. It does not fail: what is missing or malformed gets its
// default, because crm_resource and pcs call agents with less than the cluster
// does. hostname names the node where the cluster does not.
func ParseRequest(args, environ []string, hostname string) Request {
	env := make(map[string]string, len(environ))
	r := Request{Params: map[string]string{}}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
		if param, found := strings.CutPrefix(name, paramPrefix); found && !clusterOwn(param) {
			r.Params[param] = value
		}
	}
	if len(args) > 0 {
		r.Action = args[0]
	}
	if r.Action == "status" {
		r.Action = "monitor"
	}
	r.Resource, _, _ = strings.Cut(env["OCF_RESOURCE_INSTANCE"], ":")
	r.Node = nonEmpty(env[metaPrefix+"on_node"], hostname)
	interval, recurring := milliseconds(env[metaPrefix+"interval"])
	r.Interval = interval
	// As ocf_is_probe of resource-agents: an interval that is absent is a
	// person's crm_resource --force-check, not a probe.
	r.Probe = r.Action == "monitor" && recurring && interval == 0
	r.Timeout = r.advertisedTimeout()
	if timeout, given := milliseconds(env[metaPrefix+"timeout"]); given && timeout > 0 {
		r.Timeout = timeout
	}
	r.CheckLevel, _ = strconv.Atoi(env["OCF_CHECK_LEVEL"])
	r.Notify = parseNotify(env)
	r.reasonPrefix = nonEmpty(env["OCF_EXIT_REASON_PREFIX"], "ocf-exit-reason:")
	return r
}

// clusterOwn says whether a name is set by the cluster or by the tracing of
// crmsh rather than being a parameter of the resource.
func clusterOwn(param string) bool {
	switch param {
	case "crm_feature_set", "OCF_CHECK_LEVEL", "trace_ra", "trace_file", "trace_dir":
		return true
	}
	return strings.HasPrefix(param, "CRM_meta_")
}

func parseNotify(env map[string]string) Notify {
	// Pacemaker writes an empty list as a single blank (lib/pacemaker,
	// pe_notif.c), which Fields takes for what it means.
	uname := func(list string) []string {
		return strings.Fields(env[metaPrefix+"notify_"+list+"_uname"])
	}
	return Notify{
		Type:       strings.TrimSpace(env[metaPrefix+"notify_type"]),
		Operation:  strings.TrimSpace(env[metaPrefix+"notify_operation"]),
		Start:      uname("start"),
		Stop:       uname("stop"),
		Promote:    uname("promote"),
		Demote:     uname("demote"),
		Active:     uname("active"),
		Promoted:   uname("promoted"),
		Unpromoted: uname("unpromoted"),
	}
}

func (r Request) advertisedTimeout() time.Duration {
	for _, a := range Actions() {
		if a.Name == r.Action {
			return a.Timeout
		}
	}
	return 20 * time.Second // Pacemaker's own default
}

// Margin is the part of the timeout that is kept back to report what was
// waited for: once Pacemaker kills the agent, its reason is lost.
func (r Request) Margin() time.Duration { return min(r.Timeout/10, 2*time.Second) }

// WithDeadline bounds all work for the request by its timeout less the margin.
// context.Cause then says which action ran out of time.
func (r Request) WithDeadline(parent context.Context) (context.Context, context.CancelFunc) {
	late := &DeadlineError{Action: r.Action, Timeout: r.Timeout}
	return context.WithTimeoutCause(parent, r.Timeout-r.Margin(), late)
}

// DeadlineError is the cause of a request's context that ran out of time. It is
// a context.DeadlineExceeded to errors.Is.
type DeadlineError struct {
	Action  string
	Timeout time.Duration
}

// Error completes the sentence that says what was waited for.
func (e *DeadlineError) Error() string {
	return fmt.Sprintf("not finished within %s's timeout of %s", e.Action, seconds(e.Timeout))
}

// Unwrap makes the error a context.DeadlineExceeded.
func (e *DeadlineError) Unwrap() error { return context.DeadlineExceeded }

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func milliseconds(s string) (d time.Duration, ok bool) {
	ms, err := strconv.ParseUint(s, 10, 40) // what fits into a Duration
	if err != nil {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
