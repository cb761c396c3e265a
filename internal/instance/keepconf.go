package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgtwin/internal/config"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// confItem is a configuration file, or directory, of a new copy of the data, by its path in there.
type confItem struct {
	name string
	dir  bool
	link string // this host's own symbolic link, which stays one; "" for none
	text []byte // where the copy has no such file
}

// errNotBegun says that a rewind or a clone would fail, or leave a server without its configuration.
var errNotBegun = errors.New("not begun")

// planConfiguration decides, before data are copied or rewound, where the configuration of the result
// comes from. The administrator's symbolic links of this host stay. A file comes with the data; one that
// does not, because the source has a link in its place, is this host's own one of before, or else what the
// source has.
func (a *Activation) planConfiguration(ctx context.Context, source string) ([]confItem, error) {
	old, err := keptData(a.Instance)
	if err != nil {
		return nil, err
	}
	major := a.major(old)
	theirs, err := pg.AskFiles(ctx, a.upstream(source), major)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotBegun, err)
	}
	if len(theirs.Unreadable) > 0 {
		return nil, a.unreadable(source, theirs.Unreadable)
	}
	items := a.ownLinks(old, major)
	for _, name := range confNames(theirs) {
		if covered(items, name) {
			continue
		}
		text, err := a.confText(old, name, theirs)
		if err != nil {
			return nil, err
		}
		if text != nil {
			items = append(items, confItem{name: name, text: text})
		}
	}
	if covered(items, "postgresql.conf") && items[0].link != "" {
		return items, nil // this host's own says what it takes in
	}
	a.warnOfTLS(source, theirs.TLS)
	return items, a.haveOutside(source, theirs)
}

// major is the major version of the data here, or of the image.
func (a *Activation) major(dir string) int {
	if major, err := pg.MajorVersion(dir); err == nil {
		return major
	}
	return max(a.image.Major, a.Instance.MajorVersion)
}

func (a *Activation) unreadable(source string, names []string) error {
	dir := a.Instance.PGData
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	list := strings.Join(paths, " ")
	return fmt.Errorf("%w: PostgreSQL on %s cannot read %s in its own data directory, so a copy would fail: on %s, chown --reference=%s %s; chmod u+r %s, or move it elsewhere",
		errNotBegun, source, list, source, dir, list, list)
}

// ownLinks are the symbolic links among the configuration files of this host. postgresql.conf is the
// first, where it is one.
func (a *Activation) ownLinks(old string, major int) (links []confItem) {
	if old == "" {
		return nil
	}
	own := pg.FollowConfiguration(ownersFiles{a.owner}, old, major)
	add := func(paths []string, dir bool) {
		for _, path := range paths {
			name, err := filepath.Rel(old, path)
			to, errLink := os.Readlink(path)
			if err == nil && errLink == nil && filepath.IsLocal(name) && a.sees(path) {
				links = append(links, confItem{name: name, dir: dir, link: to})
			}
		}
	}
	add(own.Files, false)
	add(own.Dirs, true)
	return links
}

// sees says whether PostgreSQL can follow a link of this host.
func (a *Activation) sees(path string) bool {
	if !a.Instance.ContainerMode {
		return true
	}
	seen, err := a.visible([]string{filepath.Dir(path)})
	return err == nil && storage.Within(path, seen)
}

// covered says whether an item is, or holds, a file.
func covered(items []confItem, name string) bool {
	return slices.ContainsFunc(items, func(i confItem) bool {
		return i.name == name || i.dir && strings.HasPrefix(name, i.name+"/")
	})
}

// confNames are the configuration files that a copy of the source has to have.
func confNames(theirs pg.SourceFiles) []string {
	names := []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"}
	for _, name := range theirs.Configuration.Files {
		if filepath.IsLocal(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// confText is what a configuration file is to hold where the copy does not have it.
func (a *Activation) confText(old, name string, theirs pg.SourceFiles) ([]byte, error) {
	if old != "" {
		text, err := ownersFiles{a.owner}.Read(filepath.Join(old, name))
		if err == nil {
			return append([]byte{}, text...), nil
		}
	}
	text, there := theirs.Texts[name]
	if there || !theirs.Known || name == "pg_ident.conf" {
		return text, nil
	}
	return nil, fmt.Errorf("%w: neither this host nor the primary has %s in %s, so PostgreSQL would run here with its defaults and without the rules for clients: put it there on the primary",
		errNotBegun, name, a.Instance.PGData)
}

// haveOutside refuses where the source's configuration includes a file outside of its data directory that
// this host does not have. PostgreSQL starts without one that is optional, and only the settings differ then.
func (a *Activation) haveOutside(source string, theirs pg.SourceFiles) error {
	c := theirs.Configuration
	lacks := slices.DeleteFunc(slices.Clone(c.Lacks), func(l pg.Lack) bool { return l.By == "" || errors.Is(l.Err, fs.ErrNotExist) })
	for _, l := range lacks {
		_, err := os.Stat(l.Path)
		if !filepath.IsAbs(l.Path) || strings.HasPrefix(l.Path, a.Instance.PGData+"/") || err == nil {
			continue
		}
		lack := fmt.Errorf("%s on %s includes %s, which this host does not have: copy it here from %s, readable by user id %d",
			filepath.Join(a.Instance.PGData, l.By), source, l.Path, source, a.owner.uid)
		if !l.Optional {
			return fmt.Errorf("%w: %w", errNotBegun, lack)
		}
		a.Log.Warn("settings may differ between the hosts: " + lack.Error())
	}
	return nil
}

// completeConfiguration gives a copy of the data, or what a rewind has left, the configuration that was
// planned.
func (a *Activation) completeConfiguration(dir string, items []confItem) error {
	for _, item := range items {
		if err := a.completeItem(filepath.Join(dir, item.name), item); err != nil {
			return fmt.Errorf("cannot complete the configuration of the new copy: %w", err)
		}
	}
	for _, name := range []string{"postgresql.conf", "pg_hba.conf"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot use the new copy, which has no %s: copy it from the primary into %s before the next attempt", name, a.Instance.PGData)
		}
	}
	return nil
}

func (a *Activation) completeItem(path string, item confItem) error {
	info, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if item.link == "" {
		if err == nil {
			return nil // it came with the data
		}
		return pg.PutFile(path, item.text, a.owner.uid, a.owner.gid)
	}
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	a.Log.Info(fmt.Sprintf("%s stays a symbolic link to %s", filepath.Join(a.Instance.PGData, item.name), item.link))
	if err := os.RemoveAll(path); err != nil { // the copy of the source's, in data that are not in use yet
		return err
	}
	return errors.Join(os.Symlink(item.link, path), os.Lchown(path, int(a.owner.uid), int(a.owner.gid)))
}

// rewindFiles is a rewind that leaves the administrator's files alone. pg_rewind refuses symbolic links
// where the source has files, cannot write those of other users, and removes what the source lacks. It is
// called under the marker; a clone that follows a crash puts them back first.
func (a *Activation) rewindFiles(ctx context.Context, source string, items []confItem) error {
	dir := a.Instance.PGData
	texts, err := a.configurationTexts()
	if err != nil {
		return err
	}
	names, err := storage.SetForeignAside(dir, a.owner.uid)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		a.Log.Info("the administrator's links and files are set aside for the rewind", "files", names)
	}
	err = a.standIns(texts)
	if err == nil {
		err = pg.TakeStandbySignal(dir)
	}
	if err == nil {
		err = a.runRewind(ctx, source)
	}
	// Also after a failure: what is started outside of pgtwin is not to write.
	err = errors.Join(err, storage.PutBack(dir), pg.SetStandbySignal(dir))
	if err != nil {
		return err
	}
	return a.completeConfiguration(dir, items)
}

// configurationTexts are the configuration files in the data directory, with which the recovery before the
// rewind has to run.
func (a *Activation) configurationTexts() (map[string][]byte, error) {
	major, err := pg.MajorVersion(a.Instance.PGData)
	if err != nil {
		return nil, err
	}
	texts, files := map[string][]byte{}, ownersFiles{a.owner}
	for _, path := range pg.FollowConfiguration(files, a.Instance.PGData, major).Files {
		if !strings.HasPrefix(path, a.Instance.PGData+"/") {
			continue
		}
		if texts[path], err = files.Read(path); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// standIns are copies in the place of configuration files that were set aside.
func (a *Activation) standIns(texts map[string][]byte) error {
	for path, text := range texts {
		if exists(path) {
			continue
		}
		if err := pg.PutFile(path, text, a.owner.uid, a.owner.gid); err != nil {
			return err
		}
	}
	return nil
}

// putBack ends what a rewind has left that was interrupted.
func (a *Activation) putBack() error {
	if _, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name)); err != nil || !marked || !exists(a.Instance.PGData) {
		return err
	}
	return storage.PutBack(a.Instance.PGData)
}
