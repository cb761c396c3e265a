package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const standbySignal = "standby.signal"

// primarysSignal is what standby.signal says in a primary's data directory. PostgreSQL looks at
// whether the file exists, and only at a start (readRecoverySignalFile of xlogrecovery.c).
const primarysSignal = "# Written by pgtwin after a promotion: whatever starts PostgreSQL on this directory outside of pgtwin\n" +
	"# gets a server that is read-only. Remove this file to use the database without pgtwin.\n"

// GuardPrimary puts standby.signal, which PostgreSQL removes at the promotion, back into the data
// directory of a running primary. A unit of the distribution, or pg_ctl, would otherwise start a
// fenced primary as a second one that takes writes.
func GuardPrimary(pgdata string) error {
	return writeSignal(pgdata, primarysSignal)
}

// SetStandbySignal makes the next server on the data directory a standby, durably.
func SetStandbySignal(pgdata string) error { return writeSignal(pgdata, "") }

func writeSignal(pgdata, text string) error {
	uid, gid, err := Owner(pgdata)
	if err != nil {
		return err
	}
	_, err = replaceIfChanged(filepath.Join(pgdata, standbySignal), []byte(text), 0o600, uid, gid)
	return err
}

// HasStandbySignal says whether the next server on the data directory will be a standby.
func HasStandbySignal(pgdata string) (bool, error) {
	_, err := os.Lstat(filepath.Join(pgdata, standbySignal))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// MeantStandby says whether standby.signal was written for a standby. That of GuardPrimary says nothing
// of what the last server was.
func MeantStandby(pgdata string) (bool, error) {
	path := filepath.Join(pgdata, standbySignal)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(primarysSignal)) {
		return err == nil, err
	}
	text, err := os.ReadFile(path)
	return string(text) != primarysSignal, err
}

// TakeStandbySignal removes standby.signal, durably: a server in single-user mode, which pg_rewind starts
// to recover a crashed one, refuses it. SetStandbySignal puts it back.
func TakeStandbySignal(pgdata string) error {
	if err := removeIfThere(filepath.Join(pgdata, standbySignal)); err != nil {
		return fmt.Errorf("cannot prepare the recovery of a crashed server: %w", err)
	}
	return syncDir(pgdata)
}
