package pg

import (
	"os"
	"path/filepath"
	"strings"
)

// MayRestore says whether the administrator's configuration can have a restore_command: its files say
// so, or take in others.
func MayRestore(pgdata string) bool {
	for _, name := range []string{"postgresql.conf", "postgresql.auto.conf"} {
		text, err := os.ReadFile(filepath.Join(pgdata, name))
		if err != nil {
			continue // one that is not there sets nothing
		}
		for line := range strings.Lines(string(text)) {
			if setting := settingName(line); setting == "restore_command" || strings.HasPrefix(setting, "include") {
				return true
			}
		}
	}
	return false
}
