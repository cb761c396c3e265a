package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// stderrTail is how much of a failed program's stderr an error repeats.
const stderrTail = 600

// run runs a program of the machine itself and returns its stdout.
func run(ctx context.Context, argv ...string) (string, error) {
	return output(ctx, exec.CommandContext(ctx, argv[0], argv[1:]...), strings.Join(argv, " "))
}

// runInput is run with input on stdin.
func runInput(ctx context.Context, input string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	return output(ctx, cmd, strings.Join(argv, " "))
}

// output runs a prepared command. Its error wraps the *exec.ExitError, and the context's if that was the
// reason, and ends in the tail of stderr.
func output(ctx context.Context, cmd *exec.Cmd, name string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return stdout.String(), fmt.Errorf("cannot run %s: %w", shorten(name), withTail(err, stderr.String()))
	}
	return stdout.String(), nil
}

func withTail(err error, stderr string) error {
	stderr = strings.TrimSpace(stderr)
	if stderr == "" {
		return err
	}
	if len(stderr) > stderrTail {
		stderr = "..." + stderr[len(stderr)-stderrTail:]
	}
	return fmt.Errorf("%w: %s", err, stderr)
}

// shorten keeps a long command line (an XML document as argument) from hiding the reason.
func shorten(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
