package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/runtime"
	"pgtwin/internal/storage"
)

type clusterView = cluster.View

// owner is as whom PostgreSQL runs.
type owner struct{ uid, gid uint32 }

// identity is the owner with the groups of its account on this host, as systemd's User= gives them, because
// the group ssl-cert may read Debian's key for TLS. An account that this host does not have, as in a
// container, has none. Accounts and groups come from /etc alone: the programs are built without cgo.
func (o owner) identity() storage.Identity {
	id := storage.Identity{UID: o.uid, GID: o.gid}
	account, err := user.LookupId(strconv.FormatUint(uint64(o.uid), 10))
	if err != nil {
		return id
	}
	groups, err := account.GroupIds()
	if err != nil {
		return id
	}
	for _, group := range groups {
		if gid, err := strconv.ParseUint(group, 10, 32); err == nil && uint32(gid) != o.gid {
			id.Groups = append(id.Groups, uint32(gid))
		}
	}
	return id
}

// check looks at all that a start needs and prepares our own directories; the
// administrator's stay as they are.
func (a *Activation) check(ctx context.Context) error {
	if err := a.inspect(ctx); err != nil {
		return err
	}
	err := portFree(a.Instance)
	if err == nil {
		err = a.makeRoom()
	}
	if err != nil {
		a.runtime.Close()
	}
	return err
}

// inspect finds the owner, the credentials, the runtime and the image.
func (a *Activation) inspect(ctx context.Context) error {
	var err error
	if a.owner, err = dataOwner(a.Instance); err != nil {
		return &Failure{ocf.ErrPerm, err}
	}
	if err = a.findCredential(); err != nil {
		return &Failure{ocf.ErrPerm, err}
	}
	if a.runtime, err = a.open(ctx, a.Instance, a.Log); err != nil {
		return &Failure{ocf.ErrInstalled, err}
	}
	err = a.checkPrograms("postgres")
	if err == nil {
		err = a.checkImage(ctx)
	}
	if err == nil {
		err = checkDirectories(a.Instance)
	}
	if err != nil {
		a.runtime.Close()
	}
	return err
}

// checkDirectories wants those that a container is to see: a runtime's own
// complaint would not say what they are for.
func checkDirectories(i config.Instance) error {
	if !i.ContainerMode {
		return nil
	}
	for _, dir := range i.ContainerDirs {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return &Failure{ocf.ErrInstalled, fmt.Errorf("cannot let the container see %s, one of container_dirs: %w: make or mount it on this host", dir, err)}
		}
	}
	return nil
}

// checkImage resolves the image to what is present on this host; a start never
// pulls.
func (a *Activation) checkImage(ctx context.Context) (err error) {
	a.image, err = a.runtime.Image(ctx, a.Instance.Image)
	if err != nil {
		return &Failure{ocf.ErrInstalled, err}
	}
	want := a.Instance.MajorVersion
	if want == 0 {
		return nil
	}
	if a.image.Major == 0 {
		if err := a.askMajor(ctx); err != nil {
			return err
		}
	}
	if a.image.Major > 0 && a.image.Major != want {
		return &Failure{ocf.ErrArgs, fmt.Errorf("%s is PostgreSQL %d, pg_major_version is %d", a.programs(), a.image.Major, want)}
	}
	return nil
}

// programs is where PostgreSQL comes from, for messages.
func (a *Activation) programs() string {
	if a.Instance.ContainerMode {
		return "the image " + a.Instance.Image
	}
	dir, _ := runtime.HostPrograms(a.Instance.BinDir, wantedMajor(a.Instance), "postgres")
	return "the server in " + dir
}

// askMajor lets the programs themselves say their version, where the image
// does not. With data there it need not be known: PostgreSQL refuses others.
func (a *Activation) askMajor(ctx context.Context) error {
	empty, err := pg.IsEmpty(a.Instance.PGData)
	if err != nil || !empty {
		return err
	}
	return a.readMajor(ctx)
}

func (a *Activation) readMajor(ctx context.Context) error {
	var version strings.Builder
	spec := runtime.Spec{Name: a.jobName(), Image: a.image.ID, Argv: []string{"postgres", "--version"}, UID: a.owner.uid, GID: a.owner.gid}
	exit, err := a.runtime.Run(ctx, spec, &version)
	if err != nil {
		return &Failure{ocf.ErrInstalled, fmt.Errorf("cannot run PostgreSQL of %s: %w", a.programs(), err)}
	}
	if exit != 0 {
		return &Failure{ocf.ErrInstalled, fmt.Errorf("cannot run PostgreSQL of %s: postgres --version ended with status %d", a.programs(), exit)}
	}
	if a.image.Major, err = pg.ParseVersion(version.String()); err != nil {
		return &Failure{ocf.ErrInstalled, err}
	}
	return nil
}

// checkData refuses data that this configuration is not meant for.
func (a *Activation) checkData() error {
	major, err := pg.MajorVersion(a.Instance.PGData)
	if errors.Is(err, os.ErrNotExist) {
		return &Failure{ocf.ErrArgs, fmt.Errorf("%s holds files but no database: empty it, or set pgdata to another directory", a.Instance.PGData)}
	}
	if err != nil {
		return err
	}
	want := a.image.Major
	if want == 0 {
		want = a.Instance.MajorVersion
	}
	if want > 0 && major != want {
		return &Failure{ocf.ErrArgs, fmt.Errorf("%s was made by PostgreSQL %d, configured is %d: run pg_upgrade first", a.Instance.PGData, major, want)}
	}
	return nil
}

// dataOwner is the owner of the data directory, or of what it will be made in.
// Ownership is never changed here: a wrong owner is a wrong directory.
func dataOwner(i config.Instance) (owner, error) {
	uid, gid, err := pg.Owner(i.PGData)
	if errors.Is(err, os.ErrNotExist) {
		// A clone that was interrupted while it took its place has left the old data.
		kept, listErr := storage.Kept(i.PGData)
		if listErr != nil {
			return owner{}, listErr
		}
		origin := filepath.Dir(i.PGData)
		if len(kept) > 0 {
			origin = kept[len(kept)-1]
		}
		uid, gid, err = pg.Owner(origin)
	}
	if err != nil {
		return owner{}, err
	}
	if account, err := user.Lookup(i.User); err == nil {
		return confirmOwner(i, account, owner{uid, gid})
	}
	if uid == 0 {
		return owner{}, fmt.Errorf("%s belongs to root, as whom PostgreSQL does not run: give it to the database's user", i.PGData)
	}
	return owner{uid, gid}, nil
}

// confirmOwner compares the owner with the account named by pguser, where this
// host has one. An empty directory of root's becomes the account's when the
// database is made.
func confirmOwner(i config.Instance, account *user.User, found owner) (owner, error) {
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return owner{}, fmt.Errorf("cannot read the account %s: %w", i.User, err)
	}
	empty, err := pg.IsEmpty(i.PGData)
	if err != nil {
		return owner{}, err
	}
	if empty {
		return owner{uint32(uid), uint32(gid)}, nil
	}
	if found.uid == 0 {
		return owner{}, fmt.Errorf("%s belongs to root, as whom PostgreSQL does not run: give it to %s", i.PGData, i.User)
	}
	// In a container the owner need not be an account of this host.
	if found.uid != uint32(uid) && !i.ContainerMode {
		return owner{}, fmt.Errorf("%s belongs to user id %d, not to %s (%d): set pguser or chown it", i.PGData, found.uid, i.User, uid)
	}
	return found, nil
}

func openRuntime(ctx context.Context, i config.Instance, log *slog.Logger) (runtime.Runtime, error) {
	return openRuntimeIn(ctx, config.RunDir(i.Name), i, log)
}

func openRuntimeIn(ctx context.Context, dir string, i config.Instance, log *slog.Logger) (runtime.Runtime, error) {
	kind := "host"
	if i.ContainerMode {
		kind = i.Runtime
	}
	return runtime.Open(ctx, kind, runtime.Options{
		Instance: i.Name, DataDir: i.PGData, StateDir: dir, BinDir: i.BinDir, Major: wantedMajor(i), Log: log,
	})
}

// makeRoom prepares our own directories and the copy of the passfile that
// libpq can read as the owner of the data, in a container, too.
func (a *Activation) makeRoom() error {
	i := a.Instance
	if err := os.MkdirAll(config.StateDir(i.Name), 0o755); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", err)
	}
	if err := makeSocketDir(i.SocketDir, a.owner); err != nil {
		return err
	}
	return pg.WritePassFile(config.PassFileCopy(i.Name), a.credential, a.owner.uid, a.owner.gid)
}

// makeSocketDir makes the directory as distributions do. One that belongs to
// somebody already is left alone: other servers of this host may use it.
func makeSocketDir(dir string, o owner) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the socket directory: %w", err)
	}
	uid, _, err := pg.Owner(dir)
	if err != nil || uid != 0 {
		return err
	}
	if err := errors.Join(os.Chown(dir, int(o.uid), int(o.gid)), os.Chmod(dir, 0o2775)); err != nil {
		return fmt.Errorf("cannot hand the socket directory to its owner: %w", err)
	}
	return nil
}

// Check looks at what a start of the instance needs on this host, as far as
// that can be seen without changing anything. The error says what to do and
// has an OCF code where it is a Failure.
func Check(ctx context.Context, i config.Instance, log *slog.Logger) error {
	// The run-time directory belongs to instances that are started.
	dir, err := os.MkdirTemp("", "pgtwin-check-")
	if err != nil {
		return fmt.Errorf("cannot check the host: %w", err)
	}
	defer os.RemoveAll(dir)
	a := New(i, nil, log)
	a.open = func(ctx context.Context, i config.Instance, log *slog.Logger) (runtime.Runtime, error) {
		return openRuntimeIn(ctx, dir, i, log)
	}
	if err := a.inspect(ctx); err != nil {
		return err
	}
	defer a.runtime.Close()
	if a.secret.Problem != nil {
		return &Failure{ocf.ErrPerm, a.secret.Problem}
	}
	if err := a.checkPrograms(programsNeeded...); err != nil {
		return err
	}
	empty, err := pg.IsEmpty(i.PGData)
	if err != nil || empty {
		return err
	}
	if !i.ContainerMode {
		if err := a.readMajor(ctx); err != nil {
			return err
		}
	}
	if err := a.checkData(); err != nil {
		return err
	}
	a.checkCollations()
	if err := a.checkFiles(ha.Arrival{}); err != nil {
		return err
	}
	for _, advice := range FileAdvice(i, a.owner.uid, a.owner.gid) {
		log.Warn(advice)
	}
	if err := checkSettings(ctx, i, log); err != nil {
		return err
	}
	if err := checkTLS(i, log); err != nil {
		return err
	}
	peers := len(i.Nodes) != 1
	if wrong := CheckListen(ctx, i, filesInForce(i), peers); wrong != nil {
		if !goodListen(ctx, i, peers) {
			return wrong
		}
		log.Warn(NextListen(ctx, i, peers))
	}
	return checkSynchronous(i.PGData)
}

// checkSynchronous complains about a setting of the administrator's that cannot be
// followed: PostgreSQL does not, because ours wins over it.
func checkSynchronous(dataDir string) error {
	text, err := pg.FileSynchronous(dataDir)
	if err == nil {
		_, err = pg.ParseSynchronous(text)
	}
	if err != nil {
		return &Failure{ocf.ErrArgs, fmt.Errorf("synchronous_standby_names in %s: %w; commits wait for every standby that is complete",
			filepath.Join(dataDir, "postgresql.conf"), err)}
	}
	return nil
}
