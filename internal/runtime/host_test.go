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
	usr := t.TempDir()
	for _, dir := range []string{"lib/postgresql/9/bin", "lib/postgresql/15/bin", "lib/postgresql/17/bin", "lib/postgresql16/bin", "lib/postgresql18/lib", "pgsql-14/bin"} {
		must(t, os.MkdirAll(filepath.Join(usr, dir), 0o755))
	}
	for _, c := range []struct {
		name  string
		major int
		want  []string
	}{
		{"any major: the newest first", 0, []string{"lib/postgresql/17/bin", "lib/postgresql16/bin", "lib/postgresql/15/bin", "pgsql-14/bin", "lib/postgresql/9/bin"}},
		{"Debian's layout", 15, []string{"lib/postgresql/15/bin"}},
		{"SUSE's layout", 16, []string{"lib/postgresql16/bin"}},
		{"RHEL's layout", 14, []string{"pgsql-14/bin"}},
		{"a major without programs", 18, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, dir := range hostDirs(usr, c.major) {
				got = append(got, strings.TrimPrefix(dir, usr+"/"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhereThePrograms(t *testing.T) {
	all := []string{"postgres", "pg_basebackup"}
	for _, c := range []struct {
		name    string
		files   []string // a link as "name>target"
		bindir  string
		major   int
		want    string
		missing []string
	}{
		{"in /usr/bin", []string{"bin/postgres", "bin/pg_basebackup", "lib/postgresql/17/bin/postgres"}, "/usr/bin", 17, "bin", nil},
		{"Debian: elsewhere, with wrappers in /usr/bin", []string{"share/postgresql-common/pg_wrapper", "bin/pg_basebackup>../share/postgresql-common/pg_wrapper",
			"lib/postgresql/15/bin/postgres", "lib/postgresql/15/bin/pg_basebackup"}, "/usr/bin", 15, "lib/postgresql/15/bin", nil},
		{"a link to postgres beside a wrapper", []string{"share/postgresql-common/pg_wrapper", "bin/pg_basebackup>../share/postgresql-common/pg_wrapper",
			"bin/postgres>../lib/postgresql/15/bin/postgres", "lib/postgresql/15/bin/postgres", "lib/postgresql/15/bin/pg_basebackup"}, "/usr/bin", 15, "lib/postgresql/15/bin", nil},
		{"SUSE: /usr/bin has the newer major version", []string{"bin/postgres>../lib/postgresql17/bin/postgres", "bin/pg_basebackup>../lib/postgresql17/bin/pg_basebackup",
			"lib/postgresql17/bin/postgres", "lib/postgresql17/bin/pg_basebackup", "lib/postgresql16/bin/postgres", "lib/postgresql16/bin/pg_basebackup"},
			"/usr/bin", 16, "lib/postgresql16/bin", nil},
		{"SUSE: /usr/bin has the right one", []string{"bin/postgres>../lib/postgresql16/bin/postgres", "bin/pg_basebackup>../lib/postgresql16/bin/pg_basebackup",
			"lib/postgresql16/bin/postgres", "lib/postgresql16/bin/pg_basebackup"}, "/usr/bin", 16, "bin", nil},
		{"the client's package is missing", []string{"lib/postgresql/15/bin/postgres"}, "/usr/bin", 15, "lib/postgresql/15/bin", []string{"pg_basebackup"}},
		{"another major version's alone", []string{"lib/postgresql/15/bin/postgres"}, "/usr/bin", 16, "bin", all},
		{"nothing at all", nil, "/usr/bin", 0, "bin", all},
		{"a directory that is given is taken as it is", []string{"opt/postgres", "lib/postgresql/15/bin/postgres", "lib/postgresql/15/bin/pg_basebackup"},
			"opt", 15, "opt", []string{"pg_basebackup"}},
		{"what cannot be executed is none", []string{"lib/postgresql/15/bin/postgres", "lib/postgresql/15/bin/pg_basebackup!"}, "", 15, "lib/postgresql/15/bin", []string{"pg_basebackup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			usr := t.TempDir()
			for _, file := range c.files {
				place(t, usr, file)
			}
			bindir := c.bindir
			if !strings.HasPrefix(bindir, "/") && bindir != "" {
				bindir = filepath.Join(usr, bindir)
			}
			dir, missing := findPrograms(usr, bindir, c.major, all)
			if dir != filepath.Join(usr, c.want) || !slices.Equal(missing, c.missing) {
				t.Errorf("got %s without %q, want %s without %q", strings.TrimPrefix(dir, usr+"/"), missing, c.want, c.missing)
			}
		})
	}
}

// place makes a program, a link "name>target" or, with "name!", a file that cannot be executed.
func place(t *testing.T, usr, file string) {
	t.Helper()
	name, target, link := strings.Cut(file, ">")
	path := filepath.Join(usr, strings.TrimSuffix(name, "!"))
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	switch {
	case link:
		must(t, os.Symlink(target, path))
	case strings.HasSuffix(name, "!"):
		must(t, os.WriteFile(path, nil, 0o644))
	default:
		must(t, os.WriteFile(path, nil, 0o755))
	}
}

func TestHostWithoutPostgreSQLSaysWhereItLooked(t *testing.T) {
	h := newHost(Options{BinDir: "/nowhere/bin"})
	_, err := h.Start(t.Context(), Spec{Argv: []string{"postgres"}})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "/nowhere/bin") {
		t.Errorf("Start: %v", err)
	}
}
