package instance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
)

// exclusiveLabel is a backup_label that an exclusive backup of PostgreSQL 14 has left.
const exclusiveLabel = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n" +
	"BACKUP METHOD: pg_start_backup\nBACKUP FROM: primary\nLABEL: nightly\nSTART TIMELINE: 1\n"

// crashedInABackup is a data directory of PostgreSQL 14 whose server crashed during an exclusive backup.
func crashedInABackup(t *testing.T, data string) {
	must(t, os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("14\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(data, "backup_label"), []byte(exclusiveLabel), 0o600))
	patchControl(t, data, controlState, uint64(pg.InProduction))
}

// rulesOfRoot are rules that PostgreSQL 15 cannot read. It is given a copy, which root makes.
func rulesOfRoot(t *testing.T, data string) {
	must(t, os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("15\n"), 0o600))
	must(t, os.Chown(filepath.Join(data, "pg_hba.conf"), 0, 0))
}

func TestWhatStandsInTheDataDirectoryIsJudged(t *testing.T) {
	setting := func(path string) func(*testing.T, string) {
		return func(t *testing.T, data string) {
			appendTo(t, filepath.Join(data, "postgresql.conf"), "hba_file = '"+path+"'\n")
		}
	}
	file := func(name string) func(*testing.T, string) {
		return func(t *testing.T, data string) { must(t, os.WriteFile(filepath.Join(data, name), nil, 0o600)) }
	}
	own, others := ha.Epoch{Number: 1, Node: "h2"}, ha.Epoch{Number: 1, Node: "h1"}
	tests := []struct {
		name  string
		given func(*testing.T, string)
		epoch ha.Epoch
		says  string // "": started
	}{
		{"rules elsewhere, but the database has served with those in the data directory", setting("/etc/hostname"), own, ""},
		{"the same rules elsewhere", func(t *testing.T, data string) {
			text, err := os.ReadFile(filepath.Join(data, "pg_hba.conf"))
			must(t, err)
			elsewhere := filepath.Join(filepath.Dir(data), "rules.conf")
			must(t, os.WriteFile(elsewhere, text, 0o644))
			setting(elsewhere)(t, data)
		}, ha.Epoch{}, ""},
		{"rules in a file that only another host has", setting("/nonexistent/pg_hba.conf"), ha.Epoch{}, ""},
		{"rules that root alone may read", rulesOfRoot, ha.Epoch{}, ""},
		{"a file with which PostgreSQL does not start", file("recovery.conf"), ha.Epoch{}, "recovery.conf is of PostgreSQL 11 or older"},
		{"so it is after a promotion", file("recovery.conf"), own, "recovery.conf is of PostgreSQL 11 or older"},
		{"a file that another manager would act on", file("repmgr.conf"), ha.Epoch{}, ""},
		{"an exclusive backup that did not end", crashedInABackup, ha.Epoch{}, "an exclusive backup began at 0/2000028 and did not end"},
		{"so it is for the last primary", crashedInABackup, own, "an exclusive backup began at 0/2000028 and did not end"},
		{"with another primary to follow its end comes from there", crashedInABackup, others, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, _ := arriveReal(t, 1)
			a.withData(t)
			test.given(t, a.Instance.PGData)
			err := a.checkFiles(ha.Arrival{Epoch: test.epoch})
			if test.says == "" {
				must(t, err)
				return
			}
			var failure *Failure
			if !errors.As(err, &failure) || failure.Code != ocf.ErrInstalled || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
}
