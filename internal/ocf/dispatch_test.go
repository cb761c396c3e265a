package ocf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// run dispatches an action whose handler answers code and err.
func run(action string, code Code, err error) (Code, string) {
	var stdout, stderr bytes.Buffer
	h := Handlers{action: func(context.Context, Request) (Code, error) { return code, err }}
	got := Run(context.Background(), ParseRequest([]string{action}, nil, "host"), h, &stdout, &stderr)
	return got, stderr.String()
}

func TestExitCodes(t *testing.T) {
	wrong := errors.New("wrong")
	for _, c := range []struct {
		name, action string
		code         Code
		err          error
		want         Code
		reason       string
	}{
		{"success", "start", Success, nil, Success, ""},
		{"a code without an error has no reason", "monitor", RunningPromoted, nil, RunningPromoted, ""},
		{"an error without a code is generic", "stop", Success, wrong, ErrGeneric, "wrong"},
		{"an error with a code", "start", Success, Errorf(ErrInstalled, "no %s: %w", "podman", wrong), ErrInstalled, "no podman: wrong"},
		{"a code in the chain", "start", Success, fmt.Errorf("cannot start: %w", Errorf(ErrPerm, "denied")), ErrPerm, "cannot start: denied"},
		{"the handler's code goes before the error's", "monitor", FailedPromoted, Errorf(ErrGeneric, "dead"), FailedPromoted, "dead"},
		{"a degraded standby says why", "monitor", Degraded, wrong, Degraded, "wrong"},
		{"a degraded primary says why", "monitor", DegradedPromoted, wrong, DegradedPromoted, "wrong"},
		{"wrong parameters in validate-all", "validate-all", Success, Errorf(ErrConfigured, "x"), ErrConfigured, "x"},
		{"wrong parameters in start ban the node alone", "start", Success, Errorf(ErrConfigured, "x"), ErrArgs, "x"},
		{"wrong parameters in monitor stop no clone", "monitor", Success, Errorf(ErrConfigured, "x"), ErrGeneric, "x"},
		{"wrong parameters in stop stop no clone", "stop", ErrConfigured, nil, ErrGeneric, ""},
		{"wrong parameters in promote stop no clone", "promote", Success, Errorf(ErrConfigured, "x"), ErrGeneric, "x"},
		{"wrong parameters in demote stop no clone", "demote", ErrConfigured, wrong, ErrGeneric, "wrong"},
		{"wrong parameters in notify stop no clone", "notify", ErrConfigured, wrong, ErrGeneric, "wrong"},
		{"wrong parameters in reload-agent stop no clone", "reload-agent", ErrConfigured, wrong, ErrGeneric, "wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stderr := run(c.action, c.code, c.err)
			want := ""
			if c.reason != "" {
				want = "ocf-exit-reason:" + c.reason + "\n"
			}
			if code != c.want || stderr != want {
				t.Errorf("got %v and %q, want %v and %q", code, stderr, c.want, want)
			}
		})
	}
}

func TestTheReasonIsOneShortLastLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"short", "cannot stop", "cannot stop"},
		{"of several lines", "first\r\n\nsecond\n", "first; second"},
		{"with control characters", "a\x1b[31mb\tc\x00", "a [31mb c "},
		{"at the limit", strings.Repeat("x", 128), strings.Repeat("x", 128)},
		{"too long", strings.Repeat("x", 129), strings.Repeat("x", 125) + "..."},
		{"cut before a character, not within", strings.Repeat("x", 124) + "äöüß", strings.Repeat("x", 124) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr := run("stop", Success, errors.New(c.text))
			lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			if got := lines[len(lines)-1]; got != "ocf-exit-reason:"+c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if cut := c.want != c.text; cut != (len(lines) > 1) {
				t.Errorf("the whole text belongs before the reason where it was changed: %q", stderr)
			}
		})
	}
}

func TestTheClusterChoosesThePrefixOfReasons(t *testing.T) {
	var stderr bytes.Buffer
	req := ParseRequest([]string{"dance"}, []string{"OCF_EXIT_REASON_PREFIX=because:"}, "host")
	Run(context.Background(), req, nil, &stderr, &stderr)
	if !strings.HasSuffix(stderr.String(), "\nbecause:action \"dance\" is not implemented\n") {
		t.Errorf("stderr is %q", stderr.String())
	}
}

func TestAnExpiredDeadlineSaysWhoseItWas(t *testing.T) {
	for name, wrap := range map[string]func(context.Context) error{
		"error of a library":   func(ctx context.Context) error { return fmt.Errorf("cannot stop x.service: %w", ctx.Err()) },
		"cause of the context": func(ctx context.Context) error { return fmt.Errorf("cannot stop x.service: %w", context.Cause(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			h := Handlers{"stop": func(ctx context.Context, _ Request) (Code, error) {
				<-ctx.Done()
				return Success, wrap(ctx)
			}}
			code := Run(context.Background(), Request{Action: "stop", Timeout: time.Millisecond}, h, &stderr, &stderr)
			want := "cannot stop x.service: not finished within stop's timeout of 0.001s\n"
			if code != ErrGeneric || stderr.String() != want {
				t.Errorf("got %v and %q, want %q", code, stderr.String(), want)
			}
		})
	}
}

func TestActionsThatTheProtocolAnswers(t *testing.T) {
	for action, want := range map[string]string{
		"meta-data": Metadata(),
		"methods":   "start\nstop\npromote\ndemote\nmonitor\nnotify\nreload-agent\nmeta-data\nvalidate-all\nmethods\nusage\n",
		"usage":     "usage: pgtwin {start|stop|promote|demote|monitor|notify|reload-agent|meta-data|validate-all|methods|usage}\n",
	} {
		var stdout, stderr bytes.Buffer
		code := Run(context.Background(), Request{Action: action}, nil, &stdout, &stderr)
		if code != Success || stdout.String() != want || stderr.Len() > 0 {
			t.Errorf("%s: %v, %q, %q", action, code, stdout.String(), stderr.String())
		}
	}
}

func TestUnknownActionsAreNotImplemented(t *testing.T) {
	for _, action := range []string{"", "dance", "migrate_to", "start"} {
		var stdout, stderr bytes.Buffer
		code := Run(context.Background(), ParseRequest([]string{action}, nil, "host"), Handlers{}, &stdout, &stderr)
		if code != ErrUnimplemented || !strings.HasPrefix(stderr.String(), "usage: pgtwin {") || stdout.Len() > 0 {
			t.Errorf("%q: %v, %q, %q", action, code, stdout.String(), stderr.String())
		}
	}
}

func TestNamesOfCodes(t *testing.T) {
	for code, want := range map[Code]string{
		Success: "OCF_SUCCESS", ErrGeneric: "OCF_ERR_GENERIC", ErrArgs: "OCF_ERR_ARGS", ErrUnimplemented: "OCF_ERR_UNIMPLEMENTED",
		ErrPerm: "OCF_ERR_PERM", ErrInstalled: "OCF_ERR_INSTALLED", ErrConfigured: "OCF_ERR_CONFIGURED",
		NotRunning: "OCF_NOT_RUNNING", RunningPromoted: "OCF_RUNNING_PROMOTED", FailedPromoted: "OCF_FAILED_PROMOTED",
		Degraded: "OCF_DEGRADED", DegradedPromoted: "OCF_DEGRADED_PROMOTED", 42: "OCF code 42",
	} {
		if code.String() != want {
			t.Errorf("%d is %s, want %s", int(code), code, want)
		}
	}
}

func FuzzExitReason(f *testing.F) {
	f.Add(strings.Repeat("ä", 100))
	f.Fuzz(func(t *testing.T, text string) {
		reason := exitReason(text)
		if len(reason) > reasonLimit || strings.ContainsAny(reason, "\n\r") || !utf8.ValidString(reason) {
			t.Errorf("%q became %q", text, reason)
		}
	})
}
