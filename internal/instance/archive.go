package instance

import (
	"context"
	"fmt"
	"strings"

	"pgtwin/internal/pg"
)

// hasArchive says whether the administrator has set a restore_command, by which
// pg_rewind can fetch WAL that is gone from the data directory. Where that
// cannot be found out the rewind does without.
func (a *Activation) hasArchive(ctx context.Context, configFile string) bool {
	if !pg.MayRestore(a.Instance.PGData) {
		return false // asking costs a job
	}
	var output strings.Builder
	exit := 0
	spec, err := a.spec(a.jobName(), pg.RestoreCommand(a.Instance.PGData, configFile))
	if err == nil {
		exit, err = a.runtime.Run(ctx, spec, &output)
	}
	lines := strings.Split(strings.TrimSuffix(output.String(), "\n"), "\n") // warnings come before the answer
	command := lines[len(lines)-1]
	if err == nil && exit != 0 {
		err = fmt.Errorf("postgres ended with status %d: %s", exit, command)
	}
	if err != nil {
		a.Log.Warn("the rewind does without the archive: cannot ask for restore_command", "error", err)
		return false
	}
	if command != "" {
		a.Log.Info("the rewind can fetch WAL from the archive: restore_command is set")
	}
	return command != ""
}
