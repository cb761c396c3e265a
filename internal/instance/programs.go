package instance

import (
	"fmt"
	"strings"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/runtime"
)

// programsNeeded are all that an activation may run of PostgreSQL.
var programsNeeded = []string{"postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_verifybackup", "pg_waldump"}

// wantedMajor is the major version that the data are of, else the configured one, 0 for any.
func wantedMajor(i config.Instance) int {
	if major, err := pg.MajorVersion(i.PGData); err == nil {
		return major
	}
	return i.MajorVersion
}

// checkPrograms looks whether this host has programs of PostgreSQL's; images have them all.
func (a *Activation) checkPrograms(names ...string) error {
	if a.Instance.ContainerMode {
		return nil
	}
	major := wantedMajor(a.Instance)
	dir, missing := runtime.HostPrograms(a.Instance.BinDir, major, names...)
	if len(missing) == 0 {
		return nil
	}
	version, product := "N", "PostgreSQL"
	if major > 0 {
		version = fmt.Sprint(major)
		product += " " + version
	}
	if a.Instance.BinDir == runtime.DefaultBinDir {
		dir += ", and not where distributions put them"
	}
	packages := strings.ReplaceAll("install postgresql-N and postgresql-client-N (Debian), postgresqlN and postgresqlN-server (SUSE),"+
		" or postgresqlN-server and postgresqlN-contrib (RHEL)", "N", version)
	return &Failure{ocf.ErrInstalled, fmt.Errorf("cannot find %s of %s in %s: %s, or set pg_bindir to the directory that has them",
		strings.Join(missing, ", "), product, dir, packages)}
}
