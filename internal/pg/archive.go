package pg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

const restoreCommand = "restore_command"

// Guarded is a restore_command in a form that cannot end the server; "" for none. PostgreSQL gives up when the command ends
// with a status above 125, as a shell reports a program that is not there, or by a signal (RestoreArchivedFile in
// xlogarchive.c): a standby would end at the moment at which it loses its primary. The command runs in a shell of its own
// below the one that PostgreSQL starts, so that a promotion can end one that hangs (postmaster.Commands).
func Guarded(command string) string {
	if strings.TrimSpace(command) == "" {
		return ""
	}
	if Unwrapped(command) != command {
		return command
	}
	return Guard + strings.ReplaceAll(command, "'", `'\''`) + guardEnd
}

// Guard is how a guarded restore_command begins.
const Guard = "(eval '"

const guardEnd = "') || exit 1"

// Unwrapped is the administrator's command in a guarded one, or the command itself.
func Unwrapped(command string) string {
	inner, begins := strings.CutPrefix(command, Guard)
	inner, ends := strings.CutSuffix(inner, guardEnd)
	if !begins || !ends {
		return command
	}
	return strings.ReplaceAll(inner, `'\''`, "'")
}

// Unguarded is the restore_command that ALTER SYSTEM has set, where it is not guarded; "" where there is nothing to do.
func Unguarded(files ConfFiles, pgdata string) string {
	v := files.Values[restoreCommand]
	if v.File != filepath.Join(pgdata, autoConf) || Guarded(v.Text) == v.Text {
		return ""
	}
	return v.Text
}

// GuardAuto puts the guarded form of a restore_command in its place in postgresql.auto.conf, which wins over managed.conf.
func GuardAuto(pgdata, command string) error {
	lines := restoreCommand + " = " + quoteSetting(Guarded(command)) + "\n"
	_, err := rewriteAuto(pgdata, []string{restoreCommand}, lines)
	return err
}

// Guard is GuardAuto on the server of pgdata, which then reads its configuration. Where PostgreSQL refuses ALTER SYSTEM the
// file is replaced.
func (c *Conn) Guard(ctx context.Context, pgdata, command string) error {
	literal := "'" + strings.ReplaceAll(Guarded(command), "'", "''") + "'" // superuserSession has standard_conforming_strings
	if err := c.exec(ctx, "guard "+restoreCommand, "ALTER SYSTEM SET "+pgx.Identifier{restoreCommand}.Sanitize()+" = "+literal); err != nil {
		if err := GuardAuto(pgdata, command); err != nil {
			return fmt.Errorf("cannot guard %s: %w", restoreCommand, err)
		}
	}
	return c.Reload(ctx)
}

// MayRestore says whether the administrator's configuration can have a restore_command: its files say
// so, or take in others.
func MayRestore(pgdata string) bool {
	for _, name := range []string{"postgresql.conf", "postgresql.auto.conf"} {
		text, err := os.ReadFile(filepath.Join(pgdata, name))
		if err != nil {
			continue // one that is not there sets nothing
		}
		for line := range strings.Lines(string(text)) {
			if setting := settingName(line); setting == restoreCommand || strings.HasPrefix(setting, "include") {
				return true
			}
		}
	}
	return false
}
