package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMajorVersionOfAnImage(t *testing.T) {
	const title, version = "org.opencontainers.image.title", "org.opencontainers.image.version"
	for _, c := range []struct {
		name   string
		env    []string
		labels map[string]string
		want   int
	}{
		{"PG_MAJOR", []string{"PATH=/bin", "PG_MAJOR=17"}, nil, 17},
		{"PG_VERSION with a package's release", []string{"PG_VERSION=16.4-1.pgdg120+1"}, nil, 16},
		{"the label of an image titled PostgreSQL", nil, map[string]string{title: "SLE BCI PostgreSQL 18", version: "18.1"}, 18},
		{"a version label inherited from the base", nil, map[string]string{title: "Ubuntu", version: "24.04"}, 0},
		{"something that is not a version", []string{"PG_MAJOR=latest"}, nil, 0},
		{"nothing", nil, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := majorOf(c.env, c.labels); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestDigestIsThatOfTheRepositoryAskedFor(t *testing.T) {
	digests := []string{"docker.io/library/postgres@sha256:a", "registry.suse.com/suse/postgres@sha256:b"}
	for name, want := range map[string]string{
		"registry.suse.com/suse/postgres:17": "sha256:b",
		"docker.io/library/postgres:17":      "sha256:a",
		"postgres:17":                        "sha256:a",
	} {
		if got := digestOf(digests, name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got := digestOf(nil, "localhost/postgres:17"); got != "" {
		t.Errorf("an image without a registry: %s", got)
	}
}

func TestProgramPathPrefersTheImagesOwn(t *testing.T) {
	path := strings.Split(programPath([]string{"PATH=/opt/pg/bin:/bin"}), ":")
	want := []string{"/opt/pg/bin", "/bin", "/usr/lib/postgresql/18/bin", "/usr/lib/postgresql18/bin"}
	if !slices.Equal(path[:4], want) || path[len(path)-1] != "/usr/lib/postgresql14/bin" {
		t.Errorf("got %q", path)
	}
	if first, _, _ := strings.Cut(programPath(nil), ":"); first != "/usr/local/sbin" {
		t.Errorf("an image without PATH starts with %s", first)
	}
}

func TestAccountsNameTheOwner(t *testing.T) {
	const entry = "postgres:x:26:26::/:/bin/sh\n"
	for _, c := range []struct{ name, text, want string }{
		{"known to the host", "pg:x:26:26::/var/lib/pgsql:/bin/bash\n", "pg:x:26:26::/var/lib/pgsql:/bin/bash\n"},
		{"unknown", "root:x:0:0::/root:/bin/sh\n", "root:x:0:0::/root:/bin/sh\n" + entry},
		{"unknown, no newline at the end", "root:x:0:0::/root:/bin/sh", "root:x:0:0::/root:/bin/sh\n" + entry},
		{"its id is another's group", "other:x:5:26::/:/bin/sh\n", "other:x:5:26::/:/bin/sh\n" + entry},
		{"no file", "", entry},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := withEntry(c.text, "26", entry); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAccountFilesAreReadableAndReplaced(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		mounts, err := accountFiles(dir, Spec{UID: 4242, GID: 4343})
		must(t, err)
		if len(mounts) != 2 || mounts[0].Target != "/etc/passwd" || mounts[1].Target != "/etc/group" {
			t.Fatalf("mounts %+v", mounts)
		}
	}
	for file, entry := range map[string]string{"passwd": "postgres:x:4242:4343::/:/bin/sh\n", "group": "postgres:x:4343:\n"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		must(t, err)
		info, err := os.Stat(filepath.Join(dir, file))
		must(t, err)
		if strings.Count(string(text), entry) != 1 || !strings.HasPrefix(string(text), "root:") || info.Mode().Perm() != 0o644 {
			t.Errorf("%s, mode %v:\n%s", file, info.Mode(), text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*")); left != nil {
		t.Errorf("temporary files are left: %q", left)
	}
}

func TestJournalIsMountedWhereItIs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "dev-log")
	if got := journalMount(socket); got != nil {
		t.Errorf("without journald: %+v", got)
	}
	must(t, os.WriteFile(socket, nil, 0o666))
	want := []Mount{{Source: socket, Target: "/dev/log"}}
	if got := journalMount(socket); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestContainersThatConcernAnInstance(t *testing.T) {
	opts := Options{Instance: "db", DataDir: "/var/lib/pgsql/data"}
	for _, c := range []struct {
		name   string
		opts   Options
		label  string
		source string
		want   bool
	}{
		{"our label", opts, "db", "/srv", true},
		{"another instance's label", opts, "other", "/srv", false},
		{"the data directory", opts, "", "/var/lib/pgsql/data", true},
		{"a directory in it", opts, "", "/var/lib/pgsql/data/pg_wal", true},
		{"a directory that begins like it", opts, "", "/var/lib/pgsql/data2", false},
		{"a directory above, as monitoring mounts it", opts, "", "/", false},
		{"no label, and no instance asked for", Options{}, "", "/srv", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.opts.concerns(map[string]string{label: c.label}, []string{c.source}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestPodmanServiceKnowsNothingOfOurUnit(t *testing.T) {
	got := podmanEnvironment([]string{"PATH=/bin", "NOTIFY_SOCKET=/run/n", "LISTEN_FDS=1", "WATCHDOG_USEC=5", "HOME=/root", "CONTAINER_HOST=tcp://x"})
	if want := []string{"PATH=/bin", "HOME=/root"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
