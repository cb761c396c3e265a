package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// planClone looks on the source how large the copy will be, and where its parts
// belong: tablespaces to the same paths as there, the WAL to where it is here.
func (a *Activation) planClone(ctx context.Context, source string) (storage.Copy, []storage.Need, error) {
	extent, err := pg.AskExtent(ctx, a.upstream(source))
	if err != nil {
		return storage.Copy{}, nil, err
	}
	links, err := a.ownWAL()
	if err != nil {
		return storage.Copy{}, nil, err
	}
	for _, t := range extent.Tablespaces {
		was, err := storage.UnmountedLink(config.MountFile(a.Instance.Name), t.Location)
		if err != nil {
			return storage.Copy{}, nil, err
		}
		if was != "" {
			return storage.Copy{}, nil, fmt.Errorf("cannot put a tablespace to %s: %s is not mounted, where it was: mount it", t.Location, was)
		}
		links = append(links, storage.Link{Name: storage.Tablespace(t.OID), Dir: t.Location})
	}
	c, err := storage.NewCopy(a.Instance.PGData, links, config.MarkerFile(a.Instance.Name))
	return c, needs(c, extent), err
}

// ownWAL is the link to a WAL directory outside, of the data directory or,
// where a clone was interrupted while it took its place, of the kept one.
func (a *Activation) ownWAL() ([]storage.Link, error) {
	dir := a.Instance.PGData
	empty, err := pg.IsEmpty(dir)
	if err != nil {
		return nil, err
	}
	if empty {
		kept, err := storage.Kept(dir)
		if err != nil || len(kept) == 0 {
			return nil, err
		}
		dir = kept[len(kept)-1]
	}
	links, err := storage.Links(dir)
	if err != nil {
		return nil, err
	}
	links = slices.DeleteFunc(links, func(l storage.Link) bool { return l.Name != storage.WAL })
	for i := range links {
		links[i].Dir = storage.Original(links[i].Dir)
	}
	return links, nil
}

// What a copy takes beyond the size that the source tells: it grows meanwhile.
const (
	growthShare = 20 // one part of so many
	growthLeast = 64 << 20
)

// needs is what each place of the copy has to hold.
func needs(c storage.Copy, e pg.Extent) []storage.Need {
	grown := func(size int64) int64 { return size + size/growthShare }
	sizes := map[string]int64{storage.WAL: e.WAL}
	for _, t := range e.Tablespaces {
		sizes[storage.Tablespace(t.OID)] = grown(t.Size)
	}
	all := []storage.Need{{Dir: c.Dir, Bytes: grown(e.Main) + growthLeast}}
	separate := false
	for _, l := range c.Links {
		separate = separate || l.Name == storage.WAL
		all = append(all, storage.Need{Dir: l.Place.Dir, Bytes: sizes[l.Name]})
	}
	if !separate {
		all[0].Bytes += e.WAL
	}
	return all
}

// backup is the base backup that makes the copy.
func (a *Activation) backup(c storage.Copy) pg.Backup {
	b := pg.Backup{Dir: c.Staging, Slot: config.SlotFor(a.Instance, a.Instance.Node), MaxRate: a.Instance.BasebackupMaxRate}
	for _, l := range c.Links {
		if l.Name == storage.WAL {
			b.WALDir = l.Place.Staging
		} else {
			b.Tablespaces = append(b.Tablespaces, pg.Mapping{From: l.Dir, To: l.Place.Staging})
		}
	}
	return b
}

func stagings(c storage.Copy) []string {
	var dirs []string
	for _, p := range c.Places() {
		dirs = append(dirs, p.Staging)
	}
	return dirs
}

// replace makes new data with fill and puts them in the place of the old ones,
// which stay until then. Without the room for both nothing is begun.
func (a *Activation) replace(ctx context.Context, c storage.Copy, needs []storage.Need, fill func() error) error {
	if err := c.Discard(); err != nil {
		return err
	}
	a.shortage = shortage{needs, time.Now()}
	if err := a.checkRoom(needs); err != nil {
		return err
	}
	a.shortage = shortage{}
	if err := c.Prepare(a.owner.uid, a.owner.gid); err != nil {
		return err
	}
	if err := fill(); err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errors.Join(err, c.Discard()) // a disk that it has filled has room again
		}
		return err
	}
	kept, err := c.Swap(time.Now())
	if err != nil {
		return err
	}
	if kept != "" {
		a.Log.Info("the replaced data are kept in " + kept)
	}
	return nil
}

// shortage is what there was no room for, as the source told it.
type shortage struct {
	needs []storage.Need
	asked time.Time
}

// askAgain is how long the size of the database is taken as the source told it:
// to tell it, that looks at every file.
const askAgain = 5 * time.Minute

// stillShort repeats the complaint where there is no more room than before.
func (a *Activation) stillShort() error {
	if time.Since(a.shortage.asked) > askAgain {
		return nil
	}
	return a.checkRoom(a.shortage.needs)
}

// checkRoom says what to do where a file system has too little room.
func (a *Activation) checkRoom(needs []storage.Need) error {
	err := storage.CheckSpace(needs)
	short, isShort := errors.AsType[*storage.Shortage](err)
	if !isShort {
		return err
	}
	kept, listErr := storage.Kept(a.Instance.PGData)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	advice := "the data there stay until the new copy is complete"
	if len(kept) > 0 {
		advice += ", and so do " + strings.Join(kept, ", ")
	}
	return fmt.Errorf("%w: make %d MB more room, or move away what is not needed (%s)", err, (short.Missing()+1<<20-1)>>20, advice)
}

// keepSnapshot keeps the data as they are before a rewind changes them, where
// that costs nothing: on btrfs.
func (a *Activation) keepSnapshot() error {
	kept, err := storage.Snapshot(a.Instance.PGData, time.Now())
	if err != nil {
		return fmt.Errorf("cannot keep the data before they are rewound: %w", err)
	}
	if kept != "" {
		a.Log.Info("the data as they were before the rewind are kept in " + kept)
	}
	return nil
}

// visible are the directories that PostgreSQL's programs see, each one once and
// none that is in another: dirs, those of the data and the administrator's.
func (a *Activation) visible(dirs []string) ([]string, error) {
	links, err := storage.Links(a.Instance.PGData)
	if err != nil {
		return nil, err
	}
	wanted := []string{a.Instance.PGData}
	for _, l := range links {
		wanted = append(wanted, l.Dir)
	}
	// What is missing is PostgreSQL's to complain about, which knows what it is for.
	wanted = slices.DeleteFunc(wanted, func(dir string) bool {
		_, err := os.Stat(dir)
		return err != nil
	})
	wanted = slices.Concat(wanted, a.Instance.ContainerDirs, dirs)
	slices.Sort(wanted)
	var seen []string
	for _, dir := range wanted {
		if !slices.ContainsFunc(seen, func(above string) bool { return holds(above, dir) }) {
			seen = append(seen, dir)
		}
	}
	return seen, nil
}

// holds says whether who sees above sees dir, too; through a symbolic link that
// leads elsewhere it is not seen.
func holds(above, dir string) bool {
	if dir == above {
		return true
	}
	there, err := filepath.EvalSymlinks(above)
	if err != nil {
		return false
	}
	found, err := filepath.EvalSymlinks(dir)
	return err == nil && strings.HasPrefix(dir, above+"/") && strings.HasPrefix(found, there+"/")
}
