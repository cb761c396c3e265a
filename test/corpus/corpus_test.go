package corpus

import (
	"context"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// patience bounds what a story waits for. It is long, because a machine may be busy.
const patience = 45 * time.Second

// TestMain lets the test binary be a host as well.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(beHost(role))
	}
	code := m.Run()
	servers.remove()
	os.Exit(code)
}

// all is for a change that touches every version.
var all = flag.Bool("corpus.all", false, "play every folder with every version of PostgreSQL that it names")

// routine leaves the other folders to make corpus.
var routine = flag.Bool("corpus.routine", false, "play only the folders that say routine = true")

// complete is the version whose installation has every program.
const complete = 15

// versions are those of a folder that are played. A story on Debian's PostgreSQL, which has the programs to
// clone and to rewind, tells most; every third folder is played with another version, too, and the folder
// "plain" with all of them.
func versions(f folder) []int {
	if *all || f.name == "plain" || !slices.Contains(f.PostgreSQL, complete) {
		return f.PostgreSQL
	}
	played, mark := []int{complete}, crc32.ChecksumIEEE([]byte(f.name))
	others := slices.DeleteFunc(slices.Clone(f.PostgreSQL), func(major int) bool { return major == complete })
	if len(others) > 0 && mark%3 == 0 {
		played = append(played, others[int(mark/3)%len(others)])
	}
	return played
}

// switchesBack says whether the role returns to the first host at the end: in the folders that say what follows,
// and in some others.
func (f folder) switchesBack() bool {
	const stage = "switchback"
	return *all || f.name == "plain" || crc32.ChecksumIEEE([]byte(f.name))%4 == 0 ||
		slices.ContainsFunc(f.Step, func(s step) bool { return s.After == stage }) ||
		slices.ContainsFunc(f.Assert, func(a assertion) bool { return a.After == stage || a.After == "" }) ||
		slices.ContainsFunc(f.Files, func(a fileAssertion) bool { return a.After == stage })
}

// TestCorpus plays every folder, each with some of the versions of PostgreSQL that it names.
func TestCorpus(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the hosts of the corpus have namespaces of their own: run this test as root")
	}
	names, err := filepath.Glob("*/expect.toml")
	must(t, err)
	if len(names) == 0 {
		t.Fatal("there is no folder")
	}
	for _, name := range names {
		folder, err := readFolder(filepath.Dir(name))
		must(t, err)
		if *routine && !folder.Routine {
			continue
		}
		for _, major := range versions(folder) {
			t.Run(fmt.Sprintf("%s/%d", folder.name, major), func(t *testing.T) {
				t.Parallel()
				play(t, folder, major)
			})
		}
	}
}

// await asks until the answer is "", which says what is missing.
func await(ctx context.Context, t *testing.T, what string, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		answer := missing()
		if answer == "" {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s: %s", what, answer)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
