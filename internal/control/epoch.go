package control

import (
	"errors"
	"fmt"
	"os"
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

// WriteEpoch remembers the latest epoch that this host has seen.
func WriteEpoch(path string, epoch ha.Epoch) error {
	if err := os.WriteFile(path, []byte(epoch.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot remember the latest epoch that this host has seen: %w", err)
	}
	return nil
}
