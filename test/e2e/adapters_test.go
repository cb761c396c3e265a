//go:build lab

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// adapters runs the tests of the packages that speak to systemd, podman and docker where these are real: on a host.
func adapters(s *scene) {
	_, standby := s.hosts()
	s.tell(
		step("systemd does what internal/units asks of it", func(ctx context.Context) error {
			return s.packageTest(ctx, standby, "units", "-test.run=^TestLab")
		}),
		step("podman and docker keep the contract of internal/runtime", func(ctx context.Context) error {
			return s.packageTest(ctx, standby, "runtime", "-test.run=^Test(Podman|Docker)")
		}),
		step("Pacemaker takes records by their rank", func(ctx context.Context) error {
			return s.packageTest(ctx, standby, "cluster", "-test.run=^TestLab")
		}),
	)
}

// packageTest compiles the tests of a package of internal and runs them on a host, in a unit that may have control groups of
// its own.
func (s *scene) packageTest(ctx context.Context, h *lab.Host, name string, args ...string) error {
	binary := filepath.Join(s.TempDir(), name+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", buildTags(), "-o", binary, "pgtwin/internal/"+name)
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot compile the tests of %s: %w: %s", name, err, out)
	}
	remote := "/root/" + name + ".test"
	if err := h.CopyIn(ctx, binary, remote, 0o755); err != nil {
		return err
	}
	run := []string{"systemd-run", "--wait", "--pipe", "--quiet", "--property=Delegate=yes", "--setenv=PGTWIN_TEST_IMAGE=" + cluster.Image, remote}
	out, err := h.Run(ctx, append(run, args...)...)
	if err != nil {
		return fmt.Errorf("the tests of %s fail on %s: %w\n%s", name, h.Name(), err, out)
	}
	if !strings.Contains(out, "PASS") || strings.Contains(out, "no tests to run") {
		return fmt.Errorf("no test of %s ran on %s: %s", name, h.Name(), out)
	}
	return nil
}

// buildTags are those that this program was built with.
func buildTags() string {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-tags" {
			return setting.Value
		}
	}
	return ""
}
