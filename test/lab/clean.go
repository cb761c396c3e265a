package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// clean removes every trace of any lab on this machine. It goes by the fixed names alone, so that it works
// after a killed run and with a state directory that is missing or half written.
func clean(ctx context.Context) error {
	g, err := labGroup()
	if err != nil {
		return err
	}
	helpers, err := filepath.Glob(runDir + "/*/pid")
	if err != nil {
		return err
	}
	mounts, err := loopMounts(helpers...)
	if err == nil {
		err = g.kill(ctx, func() { thaw(mounts) })
	}
	closeAll(mounts)
	if err != nil {
		return err
	}
	for _, pid := range helpers {
		reap(pid)
	}
	if err := g.remove(); err != nil {
		return err
	}
	if err := cleanNetwork(ctx); err != nil {
		return fmt.Errorf("cannot remove the network: %w", err)
	}
	if err := detachLoops(runDir); err != nil {
		return err
	}
	// Mounts were in the hosts' own namespaces and ended with them.
	if err := os.RemoveAll(runDir); err != nil {
		return fmt.Errorf("cannot remove the lab's state: %w", err)
	}
	return nil
}
