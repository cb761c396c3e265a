package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Everything the lab makes has a fixed name, so that any later process finds it.
const (
	labDir    = "/var/lib/pgtwin-lab"
	lockPath  = labDir + "/lock"
	runDir    = labDir + "/run" // all state of the lab that is up; thrown away with it
	statePath = runDir + "/lab.json"
	program   = runDir + "/lab"   // copy of the running program, for helpers that outlive it
	fenceDir  = runDir + "/fence" // bound into each host
	cacheDir  = "/var/cache/pgtwin-lab"

	bridgeName = "pgtwin-lab"
	linkPrefix = "pgtwin-" // a host's link on the bridge is called pgtwin-h1
	groupName  = "pgtwin-lab"
	shareDir   = "/usr/share/pgtwin-lab" // in the root file system: the PostgreSQL image
)

// poll is how often a condition is looked at that nothing announces.
const poll = 20 * time.Millisecond

// await polls until done says so, and names what it waited for when the context ends first.
func await(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		if errors.Is(err, errGivenUp) {
			return fmt.Errorf("cannot wait for %s: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// errGivenUp marks, within await, an error after which waiting is pointless.
var errGivenUp = errors.New("it will not come")

// lockFile takes an exclusive lock that ends with the file's closing, or with this process.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	err = await(ctx, "the lock "+path, func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		return err == nil, err
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
