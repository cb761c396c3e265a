package instance

import (
	"context"

	"pgtwin/internal/config"
	"pgtwin/internal/pg"
)

// Secret is what a host knows of the replication role and its password.
type Secret struct {
	File    string        // the administrator's password file
	Wanted  pg.Credential // in that file; Used where Problem is set
	Used    pg.Credential // in the copy that libpq reads, see config.PassFileCopy; Wanted where there is none
	Problem error         // why the file gives no credential, nil: it does
}

// ReadSecret reads the administrator's password file and the copy of what was used last. The two differ
// while a password is being changed: the copy keeps the old one until the new one is known to work, because
// the role's own may be changed before or after the file. file is where the file was found before, "" where
// it is to be searched for. It is an error where neither gives a credential.
func ReadSecret(i config.Instance, file string) (Secret, error) {
	if file == "" {
		file = pg.FindPassFile(i.PassFile, i.User)
	}
	s := Secret{File: file}
	s.Wanted, s.Problem = pg.ReadPassFile(file, i.Port, i.Nodes, i.Addresses, i.User)
	used, err := pg.ReadWritten(config.PassFileCopy(i.Name))
	if err != nil {
		s.Used = s.Wanted
		return s, s.Problem
	}
	if s.Problem != nil {
		s.Wanted = used
	}
	if used.User == s.Wanted.User {
		used.Managed = s.Wanted.Managed
	}
	s.Used = used
	return s, nil
}

// Settled says whether what is used is what the administrator's file wants.
func (s Secret) Settled() bool { return s.Used == s.Wanted }

// findCredential finds out as whom this host connects to others. A start does not fail by a password file
// that was spoiled after the last one.
func (a *Activation) findCredential() (err error) {
	if a.secret, err = ReadSecret(a.Instance, ""); err != nil {
		return err
	}
	a.credential = a.secret.Used
	if a.secret.Problem != nil {
		a.Log.Warn("going on with the password that was used before", "error", a.secret.Problem)
	}
	return nil
}

// changeCredential turns to the administrator's file when the primary refuses what was used before, and says
// whether that is better.
func (a *Activation) changeCredential(ctx context.Context, primary string) bool {
	wanted := a.secret.Wanted
	if a.credential == wanted {
		return false
	}
	err := pg.Authenticate(ctx, a.upstream(primary), wanted)
	if err == nil {
		err = pg.WritePassFile(config.PassFileCopy(a.Instance.Name), wanted, a.owner.uid, a.owner.gid)
	}
	if err != nil {
		a.Log.Debug("the new password is not in use yet", "file", a.secret.File, "error", err)
		return false
	}
	a.Log.Info("the replication password has changed", "file", a.secret.File, "role", wanted.User)
	a.credential = wanted
	return true
}
