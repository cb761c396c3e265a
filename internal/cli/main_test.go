package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMainExitStatusAndOutput(t *testing.T) {
	tests := []struct {
		name           string
		args           string
		code           int
		stdout, stderr string // must be contained
	}{
		{"version", "version", 0, "pgtwin " + Version, ""},
		{"help has an example", "status --help", 0, "pgtwin status postgres-ha --watch", ""},
		{"an instance that nobody knows", "status nosuch", 2, "! there is no instance of this name on this host", ""},
		{"a name that is none", "status ../etc", 2, "", `pgtwin: the name "../etc" does not begin`},
		{"an output that is none", "status --output yaml", 2, "", "pgtwin: --output is table or json"},
		{"a command that is none", "demote", 2, "", `pgtwin: unknown command "demote"`},
		{"the history of a host that is new", "history nosuch", 0, "Nothing has happened yet", ""},
		{"a promotion of what is not there", "promote nosuch", 2, "", "pgtwin: cannot promote while Pacemaker does not answer"},
		{"the manual page of the agent", "ocf-man", 0, ".TH OCF_HEARTBEAT_PGTWIN 7", ""},
		{"shell completion", "completion bash", 0, "bash completion", ""},
		{"a directory that does not exist", "man /nonexistent", 2, "", "cannot write the manual page"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(strings.Fields(test.args), &stdout, &stderr)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit status %d, want %d\n%s\n%s", code, test.code, stdout.String(), stderr.String())
			}
		})
	}
}

func TestManPage(t *testing.T) {
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"man", dir}, &stdout, &stderr); code != 0 {
		t.Fatal(stderr.String())
	}
	got, err := os.ReadFile(filepath.Join(dir, "pgtwin.1"))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "pgtwin.1", got)
}

// interrupter ends the watch after the second picture.
type interrupter struct {
	bytes.Buffer
	pictures int
	stop     context.CancelFunc
}

func (i *interrupter) Write(p []byte) (int, error) {
	if i.pictures++; i.pictures == 2 {
		i.stop()
	}
	return i.Buffer.Write(p)
}

func TestWatchDrawsAgainUntilInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := &interrupter{stop: stop}
	err := page{out: out, name: "nosuch", json: true}.watch(ctx)
	if err != exitError(Down) {
		t.Errorf("ended with %v", err)
	}
	decoder := json.NewDecoder(&out.Buffer)
	for range 2 {
		var reports []struct{ Instance, Health string }
		if err := decoder.Decode(&reports); err != nil || len(reports) != 1 || reports[0].Instance != "nosuch" || reports[0].Health != "down" {
			t.Errorf("%v %v", reports, err)
		}
	}
	if decoder.More() {
		t.Error("drawn more than twice")
	}
}
