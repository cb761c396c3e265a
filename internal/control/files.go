package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteJSON replaces the file at path with value, so that a reader sees the
// old or the new content whole. The files live on tmpfs: nothing is synced.
func WriteJSON(path string, value any, mode os.FileMode) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", path, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, errWrite := temp.Write(append(text, '\n'))
	err = errors.Join(errWrite, temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// ReadJSON reads what WriteJSON wrote. A missing file is os.ErrNotExist.
func ReadJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// Intent is what the agent wants of the database: it tells the supervisor a
// death from a stop.
type Intent string

// The intents.
const (
	IntentRun    Intent = "run"
	IntentStop   Intent = "stop"
	IntentDemote Intent = "demote"
)

// ReadIntent reads the order at path. Without one nothing is expected to run.
func ReadIntent(path string) (Intent, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return IntentStop, nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the order: %w", err)
	}
	return Intent(text), nil
}

// Ticket lets one activation of the database unit start. The agent writes it
// and the activation takes it, so that nothing but Pacemaker starts a database.
type Ticket struct {
	BootID string // a ticket does not survive a reboot
	Intent Intent // IntentRun or IntentDemote: what the activation follows
}
