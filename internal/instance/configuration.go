package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// ownersFiles are the files of this host as PostgreSQL's user may read them.
type ownersFiles struct{ owner }

func (o ownersFiles) Read(path string) ([]byte, error) {
	return storage.ReadAs(path, o.identity(), pg.ConfSize)
}

func (o ownersFiles) List(dir string) ([]string, error) {
	return storage.ListAs(dir, o.identity())
}

// debianConf is where Debian's packages keep configurations: VERSION/CLUSTER below it.
const debianConf = "/etc/postgresql"

// includedRules is the first major version that reads the administrator's pg_hba.conf itself; an older
// one is given a copy.
const includedRules = 16

// checkConfiguration refuses data whose configuration PostgreSQL would not find or not read: it would run
// with its defaults, without the clients' rules, or not at all.
func (a *Activation) checkConfiguration() error {
	major, err := pg.MajorVersion(a.Instance.PGData)
	if err != nil {
		return err
	}
	found := pg.FollowConfiguration(ownersFiles{a.owner}, a.Instance.PGData, major)
	for _, lack := range found.Lacks {
		if a.hasCopy(lack) {
			continue // it stands in, see settleFiles
		}
		if err := a.complain(lack, major); err != nil {
			return &Failure{ocf.ErrInstalled, err}
		}
	}
	if err := a.checkVisible(found, major); err != nil {
		return &Failure{ocf.ErrInstalled, err}
	}
	return nil
}

// hasCopy says whether this host has a copy of a file, or of the file that takes it in, with which
// PostgreSQL has run before.
func (a *Activation) hasCopy(lack pg.Lack) bool {
	kind := pg.Conf
	for _, access := range []pg.Kind{pg.HBA, pg.Ident} {
		if lack.By == "" && filepath.Base(lack.Path) == string(access) {
			kind = access
		}
	}
	return pg.HasAccepted(config.ConfDir(a.Instance.Name), kind)
}

// complain is the sentence for a configuration file that is missing or cannot be read, nil where PostgreSQL
// does without.
func (a *Activation) complain(lack pg.Lack, major int) error {
	dir, name := a.Instance.PGData, filepath.Base(lack.Path)
	copied := lack.By == "" && name != "postgresql.conf" && major < includedRules // by root
	missing := errors.Is(lack.Err, fs.ErrNotExist)
	to, linked := os.Readlink(lack.Path)
	switch {
	case missing && linked == nil:
		return fmt.Errorf("%s is a symbolic link to %s, which this host does not have: bring it here, or replace the link by a file", lack.Path, to)
	case missing && lack.By != "":
		return fmt.Errorf("%s takes in %s, which this host does not have: bring it here from the host that has it, or remove that line", lack.By, lack.Path)
	case missing && name == "pg_ident.conf":
		return nil
	case missing:
		return fmt.Errorf("%s has no %s: PostgreSQL would run with its defaults and without the rules for clients: %s", dir, name, a.remedy(major, name))
	case copied && errors.Is(lack.Err, fs.ErrPermission):
		return nil
	case errors.Is(lack.Err, fs.ErrPermission):
		return fmt.Errorf("PostgreSQL cannot read %s, because it runs as user id %d: chgrp %d %s; chmod g+r %s (namei -l %s shows a directory above that does not let it pass)",
			lack.Path, a.owner.uid, a.owner.gid, lack.Path, lack.Path, lack.Path)
	}
	return fmt.Errorf("cannot read the configuration: %w", lack.Err)
}

// remedy is the command that brings a configuration file into the data directory.
func (a *Activation) remedy(major int, name string) string {
	dir := a.Instance.PGData
	elsewhere := debianDir(debianConf, dir, major)
	if elsewhere == "" {
		return fmt.Sprintf("copy it from the other host or from a backup into %s, or link it there", dir)
	}
	var files []string
	for _, file := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf", "conf.d"} {
		if exists(filepath.Join(elsewhere, file)) && !exists(filepath.Join(dir, file)) {
			files = append(files, filepath.Join(elsewhere, file))
		}
	}
	if !slices.Contains(files, filepath.Join(elsewhere, name)) {
		return fmt.Sprintf("its configuration is in %s, without %s: copy that from the other host", elsewhere, name)
	}
	text := fmt.Sprintf("its configuration is in %s: ln -s %s %s/", elsewhere, strings.Join(files, " "), dir)
	if a.Instance.ContainerMode && !storage.Within(elsewhere, a.Instance.ContainerDirs) {
		text += fmt.Sprintf(" and name %s in container_dirs", elsewhere)
	}
	return text
}

// debianDir is the directory below root that has the configuration of a data directory, "" for none.
func debianDir(root, dir string, major int) string {
	found, err := filepath.Glob(filepath.Join(root, fmt.Sprint(major), "*", "postgresql.conf"))
	if err != nil {
		return ""
	}
	for _, path := range found {
		// The administrator's, who is root: no user of the database writes there.
		c := pg.FollowConfiguration(ownersFiles{}, filepath.Dir(path), 0)
		if c.DataDirectory != "" && sameFile(c.DataDirectory, dir) {
			return filepath.Dir(path)
		}
	}
	return ""
}

func sameFile(one, other string) bool {
	a, errA := os.Stat(one)
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// rulesElsewhere complains of rules for clients that are not in the data directory, where pgtwin takes them
// from: its hba_file wins over the administrator's.
func rulesElsewhere(files ownersFiles, pgdata string, major int) error {
	found := pg.FollowConfiguration(files, pgdata, major)
	for _, set := range []struct{ file, path string }{{"pg_hba.conf", found.HBAFile}, {"pg_ident.conf", found.IdentFile}} {
		ours := filepath.Join(pgdata, set.file)
		if set.path == "" || set.path == "ConfigDir" || sameFile(set.path, ours) {
			continue
		}
		theirs, err := files.Read(set.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // what the setting names is another host's
		}
		here, errHere := files.Read(ours)
		if err == nil && errHere == nil && string(here) == string(theirs) {
			continue
		}
		return fmt.Errorf("postgresql.conf keeps the rules for clients in %s, but pgtwin takes them from %s, which says something else: ln -sf %s %s, or take that setting out",
			set.path, ours, set.path, ours)
	}
	return nil
}

// checkVisible refuses links out of the directories that a container sees.
func (a *Activation) checkVisible(found pg.Configuration, major int) error {
	if !a.Instance.ContainerMode {
		return nil
	}
	seen, err := a.visible(nil)
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(found.Files, found.Dirs) {
		copied := major < includedRules && slices.Contains([]string{"pg_hba.conf", "pg_ident.conf"}, filepath.Base(path))
		if copied || storage.Within(path, seen) {
			continue
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("cannot follow %s: %w", path, err)
		}
		return fmt.Errorf("PostgreSQL cannot see %s in its container, because it is in %s: name %s in container_dirs", path, target, filepath.Dir(target))
	}
	return nil
}

// keptData is the data directory that this host has, or had before a clone was interrupted; "" for none.
func keptData(i config.Instance) (string, error) {
	empty, err := pg.IsEmpty(i.PGData)
	if err != nil || !empty {
		return i.PGData, err
	}
	kept, err := storage.Kept(i.PGData)
	if err != nil || len(kept) == 0 {
		return "", err
	}
	return kept[len(kept)-1], nil
}
