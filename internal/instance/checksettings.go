package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/runtime"
)

// checkSettings says beforehand what a start will take other values for than the administrator's files
// have, and refuses data that no start of pgtwin's could use.
func checkSettings(ctx context.Context, i config.Instance, log *slog.Logger) error {
	marker := config.MarkerFile(i.Name)
	if _, err := os.Stat(marker); err == nil {
		return nil // the data are about to be replaced
	}
	d, err := demandsOf(i, 0)
	if err != nil {
		return err
	}
	if wrong := d.files.Refused(i.PGData); wrong != "" && !pg.HasAccepted(config.ConfDir(i.Name), pg.Conf) {
		return &Failure{ocf.ErrArgs, fmt.Errorf("PostgreSQL would not start with its configuration: %s: correct the file", wrong)}
	}
	if err := errors.Join(checkPreload(i, d.files), checkLevel(i, d.control, log)); err != nil {
		return err
	}
	warnOfRestore(i, d.files, log)
	for _, r := range d.raised(i) {
		log.Warn(r.String())
	}
	for _, sentence := range overruled(i, d.files) {
		log.Warn(sentence)
	}
	warnOfLowered(ctx, i, log)
	return nil
}

// warnOfLowered asks the server, where it runs, whose commits do not wait.
func warnOfLowered(ctx context.Context, i config.Instance, log *slog.Logger) {
	if accepts, err := pg.Accepts(i.PGData); err != nil || !accepts || !commitsWait(i) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pg.ConnectServer(ctx, Local(i))
	if err != nil {
		log.Debug("cannot ask which roles lower synchronous_commit", "error", err)
		return
	}
	defer conn.Close(ctx)
	lowered, err := conn.LoweredDurability(ctx)
	if err != nil {
		log.Debug("cannot ask which roles lower synchronous_commit", "error", err)
	}
	for _, sentence := range lowered {
		log.Warn(sentence)
	}
}

// checkLevel is for data that ran with wal_level=minimal.
func checkLevel(i config.Instance, c pg.Control, log *slog.Logger) error {
	if c.WALLevel != pg.WALMinimal {
		return nil
	}
	known, err := control.ReadEpoch(config.EpochFile(i.Name))
	if err != nil {
		return err
	}
	if known.Number > 0 {
		return &Failure{ocf.ErrArgs, errMinimal(i.PGData)}
	}
	log.Warn(fmt.Sprintf("the database in %s ran with wal_level=minimal, which no standby can follow: its first start recovers it once in single-user mode with wal_level=replica", i.PGData))
	return nil
}

// overruled are the settings of the administrator's that are not in force in a server of pgtwin's.
func overruled(i config.Instance, files pg.ConfFiles) []string {
	var all []string
	for _, name := range pg.OverruledNames() {
		value, set := files.Values[name]
		if !set || pg.AsForced(name, value.Text) {
			continue
		}
		all = append(all, fmt.Sprintf("%s in %s, line %d, is not in force: every server of pgtwin is started as a standby that replays all its WAL and loses no commit in a crash; remove the line",
			name, value.File, value.Line))
	}
	if commit, set := files.Values["synchronous_commit"]; set && commitsWait(i) && pg.LowersCommit(commit.Text) {
		all = append(all, fmt.Sprintf("synchronous_commit in %s, line %d, is not in force: with rep_mode=%s commits wait for the standbys; a session may lower it for itself",
			commit.File, commit.Line, i.RepMode))
	}
	if _, err := os.Lstat(filepath.Join(i.PGData, "recovery.signal")); !errors.Is(err, os.ErrNotExist) {
		all = append(all, fmt.Sprintf("%s is removed at the start: pgtwin starts every server by standby.signal", filepath.Join(i.PGData, "recovery.signal")))
	}
	slices.Sort(all)
	return all
}

// warnOfRestore names a restore_command whose program this host does not have. In a container it is another's.
func warnOfRestore(i config.Instance, files pg.ConfFiles, log *slog.Logger) {
	value := files.Values["restore_command"]
	program, _, _ := strings.Cut(strings.TrimSpace(pg.Unwrapped(value.Text)), " ")
	if i.ContainerMode || !strings.HasPrefix(program, "/") || strings.ContainsAny(program, "%'\"$`\\;|&()<>") {
		return // not set, or the shell's to find
	}
	if _, err := exec.LookPath(program); err != nil {
		log.Warn(fmt.Sprintf("restore_command (%s, line %d) names a program that this host does not have, so no WAL can be fetched from the archive: install it, or remove the line", value.File, value.Line))
	}
}

// checkPreload refuses libraries that the host's PostgreSQL is to load at a start and does not have. Where its
// libraries are is told by one that every installation has. In a container they are the image's.
func checkPreload(i config.Instance, files pg.ConfFiles) error {
	programs, err := runtime.HostPrograms(i.BinDir, wantedMajor(i), "postgres")
	if i.ContainerMode || err != nil || files.Of("dynamic_library_path") != "" {
		return nil // checkPrograms says what is wrong with the programs
	}
	value := files.Values["shared_preload_libraries"]
	for library := range strings.SplitSeq(value.Text, ",") {
		library = strings.TrimPrefix(strings.Trim(strings.TrimSpace(library), `"`), "$libdir/")
		for _, dir := range []string{"../lib", "../lib64", "../lib/postgresql"} {
			dir = filepath.Join(programs, dir)
			if !exists(filepath.Join(dir, "plpgsql.so")) || library == "" || strings.Contains(library, "/") {
				continue
			}
			if !exists(filepath.Join(dir, strings.TrimSuffix(library, ".so")+".so")) {
				return &Failure{ocf.ErrInstalled, fmt.Errorf("shared_preload_libraries (%s, line %d) names %.63q, which is not in %s, and PostgreSQL would not start: install its package, or take it out",
					value.File, value.Line, library, dir)}
			}
		}
	}
	return nil
}
