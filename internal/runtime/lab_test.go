//go:build lab

// The contract with real engines. It runs as root in a service with
// Delegate=yes on a host that has podman and docker and, in both, the image
// that PGTWIN_TEST_IMAGE names:
//
//	CGO_ENABLED=0 go test -c -tags "$TAGS,lab" -o runtime.test ./internal/runtime
//	systemd-run --wait --pipe -p Delegate=yes -E PGTWIN_TEST_IMAGE=localhost/postgres:17 ./runtime.test -test.v

package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// engine opens a container runtime for the contract.
func engine(kind string) subject {
	return subject{
		container: true,
		image:     os.Getenv("PGTWIN_TEST_IMAGE"),
		open: func(t *testing.T, opts Options) Runtime {
			rt, err := Open(t.Context(), kind, opts)
			must(t, err)
			return rt
		},
	}
}

func TestPodman(t *testing.T) { contract(t, engine("podman")) }

func TestDocker(t *testing.T) { contract(t, engine("docker")) }

func TestPodmanRunsPostgreSQL(t *testing.T) { runsPostgreSQL(newFixture(t, engine("podman"))) }

func TestDockerRunsPostgreSQL(t *testing.T) { runsPostgreSQL(newFixture(t, engine("docker"))) }

func TestPodmanKeepsTheDatabaseInOurGroup(t *testing.T) {
	f := newFixture(t, engine("podman"))
	ours := groupOf(t, os.Getpid())
	for range 2 { // jobs before it nest nothing
		exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "say", "0"), new(bytes.Buffer))
		if err != nil || exit != 0 {
			t.Fatalf("job: %d, %v", exit, err)
		}
	}
	started := f.start("contract")
	if got := groupOf(t, started.PID); !strings.HasPrefix(got, ours+"/libpod-payload-") {
		t.Errorf("the database is in %s, want it in a payload group of %s", got, ours)
	}
	if got := groupOf(t, started.MainPID); got != ours+"/runtime" {
		t.Errorf("conmon is in %s, want %s/runtime", got, ours)
	}
}

func TestDockerPutsTheDatabaseInTheSlice(t *testing.T) {
	f := newFixture(t, engine("docker"))
	started := f.start("contract")
	if got := groupOf(t, started.PID); !strings.Contains(got, "/pgtwin-contract.slice/docker-") {
		t.Errorf("the database is in %s", got)
	}
}

// groupOf returns a process's group in the unified hierarchy.
func groupOf(t *testing.T, pid int) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(group)
		}
	}
	t.Fatalf("process %d has no unified group: %s", pid, text)
	return ""
}
