package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgtwin/internal/ha"
)

// ReadEpoch reads what WriteEpoch left, zero if it left nothing.
func ReadEpoch(path string) (ha.Epoch, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ha.Epoch{}, nil
	}
	if err != nil {
		return ha.Epoch{}, fmt.Errorf("cannot read the latest epoch that this host has seen: %w", err)
	}
	return ha.ParseEpoch(strings.TrimSpace(string(text)))
}

// WriteEpoch remembers the latest epoch that this host has seen, also across a
// loss of power.
func WriteEpoch(path string, epoch ha.Epoch) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".epoch-*")
	if err == nil {
		_, err = temp.WriteString(epoch.String() + "\n")
		err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the latest epoch that this host has seen: %w", err)
	}
	return nil
}
