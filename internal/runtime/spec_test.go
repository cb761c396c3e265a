package runtime

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/container"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func exampleSpec() Spec {
	return Spec{
		Name:  "postgres-ha",
		Image: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		Argv:  []string{"postgres", "-D", "/var/lib/pgsql/data"},
		Env:   []string{"PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", "PGOPTIONS=-c a=b"},
		UID:   26, GID: 26, Groups: []uint32{474},
		Mounts: []Mount{
			{Source: "/var/lib/pgsql/data", Target: "/var/lib/pgsql/data"},
			{Source: "/var/lib/pgtwin/postgres-ha/conf", Target: "/var/lib/pgtwin/postgres-ha/conf", ReadOnly: true},
		},
		ShmSize: 1 << 30,
		Slice:   "pgtwin-postgres\\x2dha.slice", Unit: "pgtwin@postgres-ha.service",
	}
}

func exampleSurroundings() surroundings {
	return surroundings{
		Instance: "postgres-ha",
		Path:     "/usr/bin:/usr/lib/postgresql/17/bin",
		Mounts: []Mount{
			{Source: "/run/pgtwin/postgres-ha/passwd", Target: "/etc/passwd", ReadOnly: true},
			{Source: "/run/systemd/journal/dev-log", Target: "/dev/log"},
		},
		Limits:      []limit{{"memlock", math.MaxUint64, math.MaxUint64}, {"nofile", 1024, 1 << 20}},
		OOMScoreAdj: -900,
	}
}

func TestSpecInTheEnginesTerms(t *testing.T) {
	s, host := exampleSpec(), exampleSurroundings()
	plain := Spec{Name: "postgres-ha-job", Image: s.Image, Argv: []string{"pg_controldata"}, UID: 26, GID: 26, Dir: "/tmp"}
	for file, value := range map[string]any{
		"podman-database.json": podmanSpec(s, host, databasePlacement(hierarchy{true, true}, s.Slice)),
		"podman-job.json":      podmanSpec(plain, host, jobPlacements(hierarchy{true, true}, s.Slice)[0]),
		"docker-database.json": map[string]any{
			"Config": dockerConfig(s, host), "HostConfig": dockerHostConfig(s, host, dockerJournal(s)),
		},
		"docker-job.json": map[string]any{
			"Config": dockerConfig(plain, host), "HostConfig": dockerHostConfig(plain, host, container.LogConfig{Type: "none"}),
		},
	} {
		t.Run(file, func(t *testing.T) {
			got, err := json.MarshalIndent(value, "", "  ")
			must(t, err)
			got = append(got, '\n')
			path := filepath.Join("testdata", file)
			if *update {
				must(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			must(t, err)
			if string(got) != string(want) {
				t.Errorf("got:\n%s\nwant the text of %s; go test -update rewrites it", got, path)
			}
		})
	}
}

func TestPlacement(t *testing.T) {
	const slice = "pgtwin-a.slice"
	v2, v2bare, v1 := hierarchy{true, true}, hierarchy{true, false}, hierarchy{false, true}
	for _, c := range []struct {
		name      string
		got, want placement
	}{
		{"the database splits the unit's group", databasePlacement(v2, slice), placement{"split", "", true}},
		{"no limit is lifted that cannot be set", databasePlacement(v2bare, slice), placement{"split", "", false}},
		{"on the old hierarchy it gets a scope in the slice", databasePlacement(v1, slice), placement{"enabled", slice, true}},
		{"a job stays where it is", jobPlacements(v2, slice)[0], placement{"disabled", "", false}},
		{"a job that cannot stay is placed like the database", jobPlacements(v2, slice)[1], placement{"split", "", true}},
		{"a job that cannot stay, on the old hierarchy", jobPlacements(v1, slice)[1], placement{"enabled", slice, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %+v, want %+v", c.got, c.want)
			}
		})
	}
}

func TestControlGroups(t *testing.T) {
	for _, c := range []struct {
		name, controllers string
		want              hierarchy
	}{
		{"unified", "cpuset cpu io memory hugetlb pids\n", hierarchy{true, true}},
		{"unified without pids", "hugetlb\n", hierarchy{true, false}},
		{"old", "", hierarchy{false, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.controllers != "" {
				must(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte(c.controllers), 0o644))
			}
			if got := controlGroups(root); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
