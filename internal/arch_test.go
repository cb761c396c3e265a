package internal

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What each package may import of ours. A package missing here fails, too.
// Adapters (cluster, pg, runtime, storage, units) never import one another.
var mayImport = map[string][]string{
	"internal/ocf":        {},
	"internal/ha":         {},
	"internal/config":     {"internal/ocf"},
	"internal/control":    {"internal/ha"},
	"internal/postmaster": {},
	"internal/storage":    {},
	"internal/cluster":    {"internal/ha", "internal/config"},
	"internal/pg":         {"internal/ha", "internal/config"},
	"internal/runtime":    {"internal/config"},
	"internal/units":      {"internal/config"},
	"internal/agent": {"internal/cluster", "internal/config", "internal/control", "internal/ha", "internal/ocf",
		"internal/postmaster", "internal/units"},
	"internal/cli": {"internal/cluster", "internal/config", "internal/control", "internal/ha", "internal/ocf",
		"internal/postmaster", "internal/units"},
	"internal/exporter": {"internal/config", "internal/control", "internal/ha", "internal/ocf"},
	"internal/instance": {"internal/cluster", "internal/config", "internal/control", "internal/ha", "internal/ocf",
		"internal/pg", "internal/postmaster", "internal/runtime", "internal/storage", "internal/units"},
	"internal/supervisor": {"internal/cluster", "internal/config", "internal/control", "internal/ha", "internal/instance",
		"internal/pg", "internal/postmaster", "internal/storage", "internal/units"},
	"cmd/pgtwin": {"internal/agent", "internal/cli", "internal/config", "internal/ocf"},
	"cmd/pgtwin-helper": {"internal/cluster", "internal/config", "internal/exporter", "internal/instance", "internal/ocf",
		"internal/supervisor"},
}

// standardLibraryOnly are the packages that import nothing from elsewhere.
var standardLibraryOnly = []string{"internal/ha", "internal/ocf", "internal/control"}

func TestImportsPointOneWay(t *testing.T) {
	for pkg, imports := range list(t, "{{.ImportPath}}{{range .Imports}} {{.}}{{end}}", "pgtwin/cmd/...", "pgtwin/internal/...") {
		name := strings.TrimPrefix(pkg, "pgtwin/")
		allowed, known := mayImport[name]
		if !known && name != "internal" {
			t.Errorf("%s: say in mayImport what it may import", name)
		}
		for _, imported := range imports {
			ours, isOurs := strings.CutPrefix(imported, "pgtwin/")
			if isOurs && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", name, ours)
			}
			if !isOurs && strings.Contains(imported, ".") && slices.Contains(standardLibraryOnly, name) {
				t.Errorf("%s imports %s: it is for the standard library only", name, imported)
			}
		}
	}
}

// The agent is started for every action: the packages of the container
// runtimes alone take 40 ms to initialise.
func TestTheAgentIsSmall(t *testing.T) {
	for pkg, deps := range list(t, "{{.ImportPath}}{{range .Deps}} {{.}}{{end}}", "pgtwin/cmd/pgtwin") {
		for _, dep := range deps {
			for _, heavy := range []string{"containers/podman", "docker/docker", "jackc/pgx", "net/http"} {
				if strings.Contains(dep, heavy) {
					t.Errorf("%s links %s", pkg, dep)
				}
			}
		}
	}
}

// list asks the go command about packages: the first word of each line is the
// package, the others what the format gives of it.
func list(t *testing.T, format string, patterns ...string) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-f", format}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		packages[words[0]] = words[1:]
	}
	return packages
}
