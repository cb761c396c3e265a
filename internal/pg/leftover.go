package pg

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Leftover is what another manager, or another version, has left behind.
type Leftover struct {
	Path     string // a file or directory in the data directory, or the setting
	Sentence string // what it does, and what to do
	Fatal    bool   // PostgreSQL does not start with it
}

// leftoverFiles are the files of other managers that matter: those that keep a server from starting, or
// that another program would act on. Harmless ones are not listed.
var leftoverFiles = []struct{ name, sentence string }{
	{"repmgr.conf", "belongs to repmgr, whose repmgrd would promote and follow on its own: disable it (systemctl disable --now repmgrd) and move the file away"},
	{"patroni.dynamic.json", "belongs to Patroni, which would start, promote and rewrite this database on its own: disable it (systemctl disable --now patroni) and move the file away"},
	{"postgresql.base.conf", "is the configuration from before Patroni, which Patroni's postgresql.conf takes in: put what you want to keep into postgresql.conf, without Patroni's settings"},
	{"pgpool_remote_start", "lets pgpool start PostgreSQL here: take this host out of pgpool's failover and online recovery (failover_command, recovery_1st_stage_command), and move the file away"},
	{"recovery_1st_stage", "lets pgpool copy the database over this host: take this host out of pgpool's online recovery (recovery_1st_stage_command), and move the file away"},
	{"recovery.conf.pcmk", "is the template of the resource agent PAF (pgsqlms) for PostgreSQL 11 and older: make sure that no pgsqlms resource is left (crm configure show), and move the file away"},
	{"postgresql-auto-failover.conf", "belongs to pg_auto_failover, whose keeper would start and promote on its own: disable it (systemctl disable --now pgautofailover), and take its include out of postgresql.conf"},
	{"postgresql-auto-failover-standby.conf", "belongs to pg_auto_failover, whose keeper would start and promote on its own: disable it (systemctl disable --now pgautofailover), and take its include out of postgresql.conf"},
	{"stolon-temp-postgresql.conf", "belongs to Stolon, whose keeper would start and promote on its own: disable stolon-keeper, and move the file away"},
	{"delete_old_cluster.sh", "is pg_upgrade's: it removes the data from before the upgrade, for good"},
}

// leftoverLibraries are libraries of other managers in shared_preload_libraries.
var leftoverLibraries = []struct{ name, sentence string }{
	{"repmgr", "loads repmgr, whose repmgrd would promote and follow on its own: disable it (systemctl disable --now repmgrd), and take repmgr out of shared_preload_libraries"},
	{"pgautofailover", "loads pg_auto_failover, which only its monitor needs: take it out of shared_preload_libraries"},
	{"bdr", "loads BDR (EDB Postgres Distributed), which replicates by itself and takes writes on every host: pgtwin does not manage such a database"},
}

// Leftovers lists what others have left in a data directory that matters. recovery.conf comes first:
// PostgreSQL 12 and later refuse to start with it (readRecoverySignalFile of xlogrecovery.c).
func Leftovers(files Files, pgdata string, major int) (all []Leftover) {
	if present(pgdata, "recovery.conf") {
		all = append(all, Leftover{filepath.Join(pgdata, "recovery.conf"),
			"is of PostgreSQL 11 or older, and later ones refuse to start with it: take over what you need into postgresql.conf, and move the file away", true})
	}
	for _, f := range leftoverFiles {
		if present(pgdata, f.name) {
			all = append(all, Leftover{Path: filepath.Join(pgdata, f.name), Sentence: f.sentence})
		}
	}
	return append(all, settingLeftovers(files, pgdata, major)...)
}

func present(pgdata, name string) bool {
	info, err := os.Lstat(filepath.Join(pgdata, name))
	return err == nil && info.Mode().Type()&^fs.ModeSymlink == 0
}

// settingLeftovers looks at what the files set.
func settingLeftovers(files Files, pgdata string, major int) (all []Leftover) {
	set := fileSettings(files, pgdata, major)
	for _, library := range libraries(set["shared_preload_libraries"].value) {
		for _, known := range leftoverLibraries {
			if known.name == library {
				all = append(all, Leftover{Path: set["shared_preload_libraries"].path, Sentence: known.sentence})
			}
		}
	}
	restore := set["restore_command"]
	for _, manager := range []struct{ program, sentence string }{
		{"/controller/manager wal-restore", "has CloudNativePG's restore_command, whose program is in its containers only: ALTER SYSTEM RESET restore_command, or take the line out"},
		{"barman-wal-restore", "has Barman's restore_command, which a recovery has left: every standby asks that archive for WAL. Take it out unless you mean that"},
		{"pgbackrest", "has pgBackRest's restore_command, which a restore has left: every standby asks that archive for WAL. Take it out unless you mean that"},
		{"wal-g", "has WAL-G's restore_command, which a restore has left: every standby asks that archive for WAL. Take it out unless you mean that"},
		{"barman", "has Barman's restore_command, which a recovery has left: every standby asks that archive for WAL. Take it out unless you mean that"},
	} {
		// In auto.conf a tool wrote it; in postgresql.conf an administrator did.
		if filepath.Base(restore.path) == "postgresql.auto.conf" && strings.Contains(restore.value, manager.program) {
			return append(all, Leftover{Path: restore.path, Sentence: manager.sentence})
		}
	}
	return all
}

type placed struct{ value, path string }

// fileSettings are the settings of the administrator's files; the last one wins, postgresql.auto.conf over all.
func fileSettings(files Files, pgdata string, major int) map[string]placed {
	set := map[string]placed{}
	paths := FollowConfiguration(files, pgdata, major).Files
	paths = append(slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return slices.Contains([]string{"pg_hba.conf", "pg_ident.conf"}, filepath.Base(p))
	}), filepath.Join(pgdata, "postgresql.auto.conf"))
	for _, path := range paths {
		text, err := files.Read(path)
		if err != nil {
			continue // what cannot be read is another's complaint
		}
		for line := range strings.Lines(string(text)) {
			if name, value := fileSetting(line); name != "" {
				set[name] = placed{value, path}
			}
		}
	}
	return set
}

// libraries are the names in shared_preload_libraries, without directory and ending.
func libraries(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if name != "" {
			names = append(names, strings.TrimSuffix(filepath.Base(name), ".so"))
		}
	}
	return names
}
