package instance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/pg"
)

// StandIn is why the copy of a configuration file stands in for it that PostgreSQL last read without an
// error.
type StandIn struct {
	Why string // what is wrong with the file, for administrators
	// Print is the file's pg.FilePrint when PostgreSQL last looked at it. While it is the same there is no
	// need to look again. "": PostgreSQL has not said yet what is wrong with the file.
	Print string
	// Unreached says that nobody would have reached the server by the file's listen_addresses.
	Unreached bool `json:",omitempty"`
}

// StandIns are the copies that stand in for the administrator's files. The zero value is none.
type StandIns map[pg.Kind]StandIn

// Kinds are the files for which a copy stands in, sorted.
func (s StandIns) Kinds() []pg.Kind {
	var kinds []pg.Kind
	for _, kind := range pg.Kinds() {
		if _, on := s[kind]; on {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Sentences say which copies stand in, and what to do about it.
func (s StandIns) Sentences(pgdata string) (all []string) {
	for _, kind := range s.Kinds() {
		all = append(all, fmt.Sprintf("%s is not in use, its last good copy is: %s: correct the file, it is read again by itself",
			filepath.Join(pgdata, string(kind)), s[kind].Why))
	}
	return all
}

// ReadStandIns reads what WriteStandIns has written.
func ReadStandIns(name string) (StandIns, error) {
	standIns := StandIns{}
	err := control.ReadJSON(config.StandInFile(name), &standIns)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return StandIns{}, fmt.Errorf("cannot tell which copies of configuration files are in use: %w", err)
	}
	return standIns, nil
}

// filesInForce are the configuration files with which PostgreSQL of instance i runs, or would start.
func filesInForce(i config.Instance) pg.ConfFiles {
	standIns, err := ReadStandIns(i.Name)
	dir := config.ConfDir(i.Name)
	if _, on := standIns[pg.Conf]; err == nil && on && pg.HasAccepted(dir, pg.Conf) {
		return pg.ReadConfCopies(dir, i.PGData, pg.Conf)
	}
	return pg.ReadConfFiles(i.PGData)
}

// WriteStandIns keeps which copies stand in, across starts.
func WriteStandIns(name string, s StandIns) error {
	if len(s) == 0 {
		return removeFile(config.StandInFile(name))
	}
	if err := control.WriteJSON(config.StandInFile(name), s, 0o644); err != nil {
		return fmt.Errorf("cannot note which copies of configuration files are in use: %w", err)
	}
	return nil
}

// settleFiles decides before a start which copies stand in. A file that was changed since PostgreSQL
// refused it gets another chance. A changed pg_ident.conf is left to the supervisor, which tries it on
// the running server: with an error in it PostgreSQL starts and lets nobody in by a map, us included
// (load_ident in hba.c).
func (a *Activation) settleFiles() error {
	name := a.Instance.Name
	standIns, err := ReadStandIns(name)
	if err != nil {
		a.Log.Warn(err.Error())
	}
	for _, kind := range standIns.Kinds() {
		if print := standIns[kind].Print; !a.fellBack && print != "" && print != pg.FilePrint(a.Instance.PGData, kind) {
			a.Log.Info(fmt.Sprintf("%s has changed: trying it again", kind))
			delete(standIns, kind)
		}
	}
	conf := pg.ReadConfFiles(a.Instance.PGData).Refused(a.Instance.PGData)
	if _, on := standIns[pg.Conf]; conf != "" && !on && pg.HasAccepted(config.ConfDir(name), pg.Conf) {
		standIns[pg.Conf] = StandIn{Why: conf}
	}
	if a.identChanged() {
		standIns[pg.Ident] = StandIn{Why: "it has changed, and PostgreSQL has not read it yet"}
	}
	for _, sentence := range standIns.Sentences(a.Instance.PGData) {
		a.Log.Warn(sentence)
	}
	return WriteStandIns(name, standIns)
}

// explain adds what is wrong with the configuration files to the failure of a start.
func (a *Activation) explain(failure error) error {
	files := pg.ReadConfFiles(a.Instance.PGData)
	switch {
	case !errors.Is(failure, errEnded):
		return failure
	case len(files.Problems) > 0:
		return fmt.Errorf("PostgreSQL does not start with its configuration: %s: correct the file: %w", files.Problems[0], failure)
	case a.tls.Problem != nil:
		return fmt.Errorf("PostgreSQL does not start with its TLS files: %w: %w", a.tls.Problem, failure)
	}
	return failure
}

// identChanged says whether pg_ident.conf is another than the one that was accepted.
func (a *Activation) identChanged() bool {
	dir := config.ConfDir(a.Instance.Name)
	if !pg.HasAccepted(dir, pg.Ident) {
		return false
	}
	same, err := pg.IsAccepted(dir, a.Instance.PGData, pg.Ident)
	return err != nil || !same
}

// giveBack takes back what fallBack has done when PostgreSQL did not start with the copies either: then
// the files are not the reason.
func (a *Activation) giveBack(failure error) error {
	if !errors.Is(failure, errEnded) {
		return failure
	}
	standIns, err := ReadStandIns(a.Instance.Name)
	if err != nil {
		return errors.Join(failure, err)
	}
	for _, kind := range standIns.Kinds() {
		if !slices.Contains(a.tried, kind) {
			delete(standIns, kind)
		}
	}
	return errors.Join(failure, WriteStandIns(a.Instance.Name, standIns))
}

// fallBack lets the copies stand in with which PostgreSQL has run before, once, when it did not start
// with the administrator's files as they are. It says whether there are any that differ.
func (a *Activation) fallBack(why error) bool {
	if a.fellBack || !errors.Is(why, errEnded) {
		return false
	}
	a.fellBack = true
	dir := config.ConfDir(a.Instance.Name)
	standIns, err := ReadStandIns(a.Instance.Name)
	if err != nil {
		a.Log.Warn(err.Error())
	}
	tried := standIns.Kinds()
	for _, kind := range []pg.Kind{pg.Conf, pg.HBA} {
		same, err := pg.IsAccepted(dir, a.Instance.PGData, kind)
		if !slices.Contains(tried, kind) && pg.HasAccepted(dir, kind) && (err != nil || !same) {
			standIns[kind] = StandIn{Why: "PostgreSQL did not start with it"}
		}
	}
	auto, err := pg.ReplaceAuto(dir, a.Instance.PGData, a.owner.uid, a.owner.gid)
	if err != nil {
		a.Log.Warn(err.Error())
	}
	if auto {
		a.Log.Error("brought back the last good postgresql.auto.conf, in case it is the reason: the other one is " + pg.BrokenAuto(a.Instance.PGData))
	}
	if len(standIns) == len(tried) {
		return auto
	}
	if err := WriteStandIns(a.Instance.Name, standIns); err != nil {
		a.Log.Error(err.Error())
		return false
	}
	a.tried = tried
	a.Log.Error("PostgreSQL did not start: starting it with the last good copies of the configuration files that have changed",
		"files", standIns.Kinds(), "error", why)
	return true
}
