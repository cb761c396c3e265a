package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
)

// Validate checks the parameters; at level 10 and above the host, too.
func (a *Agent) Validate(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	if req.CheckLevel < 10 {
		// OCF 1.1: the parameters alone, without a look at the host, which may
		// not even be a node of the cluster.
		req.Node = ""
	}
	i, err := a.configure(req)
	if err != nil || req.CheckLevel < 10 {
		return ocf.Success, err
	}
	return ocf.Success, a.checkHost(ctx, i)
}

// checkHost lets the helper, which knows the runtimes and PostgreSQL, look at
// everything that a start needs; nothing is changed.
func (a *Agent) checkHost(ctx context.Context, i config.Instance) error {
	file, err := os.CreateTemp("", "pgtwin-check-*.toml")
	if err != nil {
		return fmt.Errorf("cannot check the host: %w", err)
	}
	file.Close()
	defer os.Remove(file.Name())
	if err := i.WriteFile(file.Name()); err != nil {
		return err
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, a.Helper, "check", file.Name())
	cmd.Stderr = &complaint
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &ocf.Error{Code: ocf.Code(exit.ExitCode()), Err: errors.New(strings.TrimSpace(complaint.String()))}
	}
	return err
}
