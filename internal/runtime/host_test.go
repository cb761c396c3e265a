package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	contract(t, subject{open: func(_ *testing.T, opts Options) Runtime {
		rt, err := Open(context.Background(), "host", opts)
		must(t, err)
		return rt
	}})
}

func TestHostRunsPostgreSQL(t *testing.T) {
	runsPostgreSQL(newFixture(t, subject{open: func(*testing.T, Options) Runtime {
		return newHost(Options{})
	}}))
}

func TestHostDirectoriesOfPrograms(t *testing.T) {
	lib := t.TempDir()
	for _, dir := range []string{"postgresql/9/bin", "postgresql/15/bin", "postgresql/17/bin", "postgresql16/bin", "postgresql18/lib"} {
		must(t, os.MkdirAll(filepath.Join(lib, dir), 0o755))
	}
	for _, c := range []struct {
		name  string
		major int
		want  []string
	}{
		{"any major: the newest first", 0, []string{"postgresql/17/bin", "postgresql16/bin", "postgresql/15/bin", "postgresql/9/bin", "/usr/bin"}},
		{"Debian's layout", 15, []string{"postgresql/15/bin", "/usr/bin"}},
		{"SUSE's layout", 16, []string{"postgresql16/bin", "/usr/bin"}},
		{"a major without programs", 18, []string{"/usr/bin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, dir := range hostDirs(lib, c.major) {
				got = append(got, strings.TrimPrefix(dir, lib+"/"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHostWithoutPostgreSQLSaysWhereItLooked(t *testing.T) {
	h := newHost(Options{BinDir: "/nowhere/bin"})
	_, err := h.Start(t.Context(), Spec{Argv: []string{"postgres"}})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "/nowhere/bin") {
		t.Errorf("Start: %v", err)
	}
}
