package config

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"pgtwin/internal/ocf"
)

// WriteFile writes the instance as TOML, atomically, creating the directory
// where it is missing. The file holds no secret and everybody may read it: the
// status service is not root.
func (i Instance) WriteFile(path string) error {
	if err := i.write(path); err != nil {
		return fmt.Errorf("cannot write the settings of instance %s: %w", i.Name, err)
	}
	return nil
}

func (i Instance) write(path string) error {
	text, err := toml.Marshal(i)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".instance-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // fails once it has been renamed, as it should
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Chmod(0o644)
	}
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// ReadInstance reads /run/pgtwin/NAME/instance.toml. errors.Is(err,
// fs.ErrNotExist) means that the agent has not started this instance since the
// boot.
func ReadInstance(name string) (Instance, error) {
	if _, err := ocf.InstanceName(name); err != nil {
		return Instance{}, fmt.Errorf("cannot read the settings of an instance: name %w", err)
	}
	return ReadInstanceFile(InstanceFile(name))
}

// ReadInstanceFile reads what WriteFile wrote, by an older or a newer pgtwin
// too: settings that the file does not have get their defaults, and those that
// this program does not know are left alone.
func ReadInstanceFile(path string) (Instance, error) {
	var i Instance
	Defaults().apply(&i)
	if _, err := toml.DecodeFile(path, &i); err != nil {
		return Instance{}, fmt.Errorf("cannot read the settings of an instance from %s: %w", path, err)
	}
	return i, nil
}
