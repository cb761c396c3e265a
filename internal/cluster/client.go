// Package cluster is what pgtwin knows of Pacemaker: which nodes there are and
// whether they are up, quorum, fencing, the records kept in the cluster
// information base (CIB) and the promotion scores.
//
// It speaks to Pacemaker through its command-line tools alone, reads their XML
// and never their text, and decides nothing: what a missing node or a lost
// quorum means for the database is package ha's business.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotConnected means that Pacemaker does not run on this host, or does not
// answer yet. It says nothing about the other nodes.
var ErrNotConnected = errors.New("not connected to the cluster: Pacemaker is not running on this host")

// Client reads and writes what the cluster knows of one instance.
type Client struct {
	Resource string // id of the Pacemaker resource, without ":N"; where "", reading finds it by the instance
	Instance string // name of the database instance, part of the names of our records
	Node     string // this cluster node; "" where none is meant, as on an administrator's machine

	tools string // directory of Pacemaker's command-line tools
}

// New returns a client for one instance. It starts nothing and cannot fail:
// every method runs one tool and reports what that said.
func New(resource, instance, node string) *Client {
	return &Client{Resource: resource, Instance: instance, Node: node, tools: "/usr/sbin"}
}

// ToolError is the failure of one of Pacemaker's tools. It is ErrNotConnected
// where the tool found no Pacemaker to talk to.
type ToolError struct {
	Tool   string
	Code   int    // exit status
	Detail string // the last line of its standard error
}

// Error names the tool, its exit status and what it said last.
func (e *ToolError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s ended with exit status %d", e.Tool, e.Code)
	}
	return fmt.Sprintf("%s ended with exit status %d: %s", e.Tool, e.Code, e.Detail)
}

// Is lets errors.Is find ErrNotConnected in the exit status.
func (e *ToolError) Is(target error) bool {
	return target == ErrNotConnected && e.Code == exitDisconnect
}

// Exit statuses of Pacemaker's tools (crm_exit_t, listed by `crm_error --exit
// --list`).
const (
	exitNoSuchAttribute    = 105 // CRM_EX_NOSUCH
	exitNoSuchAttributeOld = 6   // ENXIO, before Pacemaker had exit statuses of its own
	exitDisconnect         = 102 // CRM_EX_DISCONNECT
)

// drain is how long a killed tool may keep its output open.
const drain = time.Second

// run starts one tool, gives it stdin and returns its standard output, also
// where it failed: the XML ones explain themselves there.
func (c *Client) run(ctx context.Context, stdin []byte, tool string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(c.tools, tool), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	cmd.WaitDelay = drain

	err := cmd.Run()
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("%s did not finish: %w", tool, context.Cause(ctx))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.Bytes(), &ToolError{Tool: tool, Code: exit.ExitCode(), Detail: lastLine(errs.String())}
	}
	return out.Bytes(), err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
