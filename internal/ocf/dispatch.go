package ocf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Handler carries out one action. With an error, Success stands for the code of
// the error (CodeOf), and any other code is kept: a degraded instance can say
// why. The context ends before the cluster's timeout does.
type Handler func(context.Context, Request) (Code, error)

// Handlers are the actions that an agent implements, by name. Those that the
// protocol answers by itself (meta-data, methods, usage) are not among them.
type Handlers map[string]Handler

// reasonLimit is what Pacemaker up to 3.0.1 keeps of an exit reason, in bytes.
const reasonLimit = 128

// Run answers a request and returns the code to exit with. Metadata and help go
// to stdout. An error goes to stderr: in full, line by line, where it does not
// fit into an exit reason, and then as the exit reason, always the last line.
func Run(ctx context.Context, req Request, handlers Handlers, stdout, stderr io.Writer) Code {
	switch req.Action {
	case "meta-data":
		return printed(fmt.Fprint(stdout, Metadata()))
	case "methods":
		return printed(fmt.Fprintln(stdout, strings.Join(methods(), "\n")))
	case "usage", "help", "--help":
		return printed(fmt.Fprintln(stdout, usage()))
	}
	handler, found := handlers[req.Action]
	if !found {
		fmt.Fprintln(stderr, usage())
		req.explain(stderr, fmt.Sprintf("action %q is not implemented", req.Action))
		return ErrUnimplemented
	}
	ctx, cancel := req.WithDeadline(ctx)
	defer cancel()
	code, err := handler(ctx, req)
	if err != nil {
		if code == Success {
			code = CodeOf(err)
		}
		req.explain(stderr, sentence(ctx, err))
	}
	return code.permitted(req.Action)
}

func printed(_ int, err error) Code { return CodeOf(err) }

// sentence is the text of an error. Where the error carries a bare "context
// deadline exceeded" from a library, it says whose deadline that was.
func sentence(ctx context.Context, err error) string {
	var late *DeadlineError
	if !errors.As(context.Cause(ctx), &late) || errors.As(err, new(*DeadlineError)) {
		return err.Error()
	}
	return strings.ReplaceAll(err.Error(), context.DeadlineExceeded.Error(), late.Error())
}

// explain writes the exit reason. The last such line on stderr is what crm_mon
// and pcs show beside the failed action.
func (r Request) explain(stderr io.Writer, text string) {
	reason := exitReason(text)
	if reason != text {
		for line := range strings.Lines(text) {
			fmt.Fprintln(stderr, "ERROR: "+oneLine(line))
		}
	}
	fmt.Fprintln(stderr, r.reasonPrefix+reason)
}

// exitReason is text as one line of at most reasonLimit bytes, cut between
// characters.
func exitReason(text string) string {
	line := oneLine(text)
	if len(line) <= reasonLimit {
		return line
	}
	const ellipsis = "..."
	end := reasonLimit - len(ellipsis)
	for !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + ellipsis
}

// oneLine joins the lines of a text by semicolons and drops what a terminal or
// the cluster's XML could not take.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' })
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return ' '
		}
		return c
	}, strings.Join(lines, "; "))
}

func methods() []string {
	var names []string
	for _, a := range Actions() {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	return append(names, "methods", "usage")
}

func usage() string { return "usage: " + agentName + " {" + strings.Join(methods(), "|") + "}" }
