package pg

import (
	"fmt"
	"strings"
)

// The programs below are given as argument vectors without a directory. Run them as the owner of the
// data directory, with LC_ALL=C where their progress is parsed. None gets -R: it would write a
// primary_conninfo into postgresql.auto.conf, which wins over ours.

// Backup says how a base backup is to be made.
type Backup struct {
	Dir         string    // must be empty or missing
	WALDir      string    // where its WAL goes, if not into Dir
	Tablespaces []Mapping // each has to be mapped to an empty or missing directory
	Slot        string    // holds the WAL on the source meanwhile and must exist; "" for none
	MaxRate     int64     // bytes per second, 0: no limit
}

// Mapping is where a tablespace of the source is put.
type Mapping struct{ From, To string }

// BaseBackup copies the database of a server.
func BaseBackup(from Target, b Backup) []string {
	argv := []string{"pg_basebackup", "--pgdata=" + b.Dir, "--dbname=" + from.replicating().Conninfo(), "--no-password",
		"--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=CRC32C", "--progress"}
	if b.WALDir != "" {
		argv = append(argv, "--waldir="+b.WALDir)
	}
	escape := strings.NewReplacer("=", `\=`)
	for _, m := range b.Tablespaces {
		argv = append(argv, "--tablespace-mapping="+escape.Replace(m.From)+"="+escape.Replace(m.To))
	}
	if b.Slot != "" {
		argv = append(argv, "--slot="+b.Slot)
	}
	if b.MaxRate > 0 {
		argv = append(argv, fmt.Sprintf("--max-rate=%dk", b.MaxRate>>10))
	}
	return argv
}

// verifyShows is the first major version whose pg_verifybackup shows its progress.
const verifyShows = 16

// VerifyBackup checks a fresh base backup by a server of a major version against its manifest, WAL
// included.
func VerifyBackup(dir string, major int) []string {
	show := "--quiet"
	if major >= verifyShows {
		show = "--progress"
	}
	return []string{"pg_verifybackup", show, "--exit-on-error", dir}
}

// asItself keeps a session of PostgreSQL's own programs from settings of all roles or of the database that would end it. The
// others that pg_rewind depends on it sets itself (init_libpq_conn in libpq_source.c).
const asItself = "options='-c role=none -c local_preload_libraries='"

// Rewind makes a diverged data directory, whose server is stopped, a copy of the source again.
// configFile lets its crash recovery find the configuration; "" means the one in the data
// directory, and is needed below PostgreSQL 15, which has no --config-file: there recover with
// CrashRecovery first where the server did not stop cleanly.
//
// fromArchive lets it fetch WAL that is not in the data directory any more by the restore_command of
// that configuration, without one of which it would refuse.
func Rewind(pgdata string, source Target, configFile string, fromArchive bool) []string {
	if source.Database != otherDatabase {
		source.Database = "postgres" // where EnsureReplicationRole makes its grants, unless it is missing
	}
	argv := []string{"pg_rewind", "--target-pgdata=" + pgdata, "--source-server=" + source.Conninfo() + " " + asItself, "--progress"}
	if configFile != "" {
		argv = append(argv, "--config-file="+configFile)
	}
	if fromArchive {
		argv = append(argv, "--restore-target-wal")
	}
	return argv
}

// RestoreCommand prints the restore_command of a configuration, as pg_rewind asks for it; configFile is
// as in Rewind.
func RestoreCommand(pgdata, configFile string) []string {
	argv := []string{"postgres", "-D", pgdata}
	if configFile != "" {
		argv = append(argv, "-c", "config_file="+configFile)
	}
	return append(argv, "-C", "restore_command")
}

// CrashRecovery replays what a crashed server left in its WAL and stops, in single-user mode with
// empty standard input. pg_rewind does the same by itself.
func CrashRecovery(pgdata, configFile string) []string {
	return []string{"postgres", "--single", "-F", "-D", pgdata, "-c", "config_file=" + configFile, "template1"}
}

// RaiseLevel recovers data whose WAL was written with wal_level=minimal, which no standby replays, and
// stops: the end of the recovery writes the raised level into the WAL and the control file
// (XLogReportParameters). It is CrashRecovery with the disk's word for it, and refuses standby.signal.
func RaiseLevel(pgdata, configFile string, raised []Raised) []string {
	argv := []string{"postgres", "--single", "-D", pgdata, "-c", "config_file=" + configFile, "-c", "fsync=on", "-c", "full_page_writes=on"}
	level := "replica"
	for _, r := range raised {
		if r.Name == "wal_level" {
			level = r.Value
		} else {
			argv = append(argv, "-c", r.Name+"="+r.Value)
		}
	}
	return append(argv, "-c", "wal_level="+level, "template1")
}

// InitDB makes a new database with user as superuser.
func InitDB(dir, user string) []string {
	return []string{"initdb", "--pgdata=" + dir, "--username=" + user, "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=peer", "--auth-host=scram-sha-256"}
}

// ParseProgress reads a progress line of pg_basebackup ("12345/67890 kB (18%), 0/1 tablespace"),
// pg_rewind ("  4096/ 8192 kB (50%) copied") or pg_verifybackup ("  4096/8192 kB (50%) verified") and
// answers bytes. pg_basebackup's total is an estimate.
func ParseProgress(line string) (done, total int64, ok bool) {
	var percent int
	if _, err := fmt.Sscanf(line, "%d/%d kB (%d%%)", &done, &total, &percent); err != nil {
		return 0, 0, false
	}
	return done << 10, total << 10, true
}
