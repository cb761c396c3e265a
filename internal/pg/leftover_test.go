package pg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plain reads files as this process may.
type plain struct{}

func (plain) Read(path string) ([]byte, error) { return os.ReadFile(path) }
func (plain) List(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func TestLeftoversThatMatterAreNamed(t *testing.T) {
	tests := []struct {
		name, file, text string
		says             string // "": nothing
	}{
		{"recovery.conf", "recovery.conf", "", "refuse to start with it"},
		{"its renamed one", "recovery.done", "", ""},
		{"repmgr's file", "repmgr.conf", "", "repmgrd"},
		{"repmgr's library", "postgresql.conf", "shared_preload_libraries = 'pg_stat_statements, repmgr'\n", "take repmgr out"},
		{"repmgr's library by path", "postgresql.auto.conf", "shared_preload_libraries = '\"$libdir/repmgr.so\"'\n", "take repmgr out"},
		{"repmgr's library in a comment", "postgresql.conf", "#shared_preload_libraries = 'repmgr'\n", ""},
		{"Patroni", "patroni.dynamic.json", "{}", "disable --now patroni"},
		{"Patroni's base", "postgresql.base.conf", "", "without Patroni's settings"},
		{"pgpool", "recovery_1st_stage", "", "pgpool"},
		{"PAF", "recovery.conf.pcmk", "", "pgsqlms"},
		{"pg_auto_failover", "postgresql-auto-failover.conf", "", "keeper"},
		{"BDR", "postgresql.conf", "shared_preload_libraries = 'bdr'\n", "pgtwin does not manage"},
		{"CloudNativePG", "postgresql.auto.conf", "restore_command = '/controller/manager wal-restore %f %p'\n", "CloudNativePG"},
		{"pgBackRest", "postgresql.auto.conf", "restore_command = 'pgbackrest --stanza=a archive-get %f \"%p\"'\n", "every standby asks that archive"},
		{"Barman", "postgresql.auto.conf", "restore_command = 'barman get-wal main %f > %p'\n", "every standby asks that archive"},
		{"Barman's client", "postgresql.auto.conf", "restore_command = 'barman-wal-restore -U barman b main %f %p'\n", "every standby asks that archive"},
		{"WAL-G, guarded", "postgresql.auto.conf", "restore_command = '(eval ''wal-g wal-fetch %f %p'') || exit 1'\n", "every standby asks that archive"},
		{"pgBackRest as the administrator wants it", "postgresql.conf", "restore_command = 'pgbackrest --stanza=a archive-get %f \"%p\"'\n", ""},
		{"a label of a backup that was used", "backup_label.old", "", ""},
		{"pg_upgrade", "delete_old_cluster.sh", "", "for good"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "postgresql.conf"), nil, 0o600))
			must(t, os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o600))
			found := Leftovers(plain{}, dir, 15)
			if test.says == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].Sentence, test.says) || found[0].Path != filepath.Join(dir, test.file) || found[0].Fatal != (test.file == "recovery.conf") {
				t.Errorf("%+v, want %q", found, test.says)
			}
		})
	}
}

func TestIncludesAreFollowedAsPostgreSQLDoes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("postgresql.conf", "include 'more/a.conf'\nINCLUDE_DIR = conf.d # x\ninclude_if_exists 'none.conf'\nhba_file = 'it''s'\n#include 'no.conf'\n")
	write("more/a.conf", "include 'b.conf'\ninclude 'a.conf'\n")
	write("more/b.conf", "")
	write("conf.d/1.conf", "")
	write("conf.d/.2.conf", "")
	write("conf.d/3.txt", "")
	write("pg_hba.conf", "include gone.conf\nlocal all all peer\n")
	for major, lacks := range map[int]int{15: 1, 16: 2} { // pg_ident.conf, and what pg_hba.conf includes
		c := FollowConfiguration(plain{}, dir, major)
		var names []string
		for _, f := range c.Files {
			names = append(names, strings.TrimPrefix(f, dir+"/"))
		}
		if got := strings.Join(names, " "); got != "postgresql.conf more/a.conf more/b.conf conf.d/1.conf pg_hba.conf" || c.HBAFile != "it's" || len(c.Lacks) != lacks {
			t.Errorf("%d: %s, hba_file %s, lacks %v", major, got, c.HBAFile, c.Lacks)
		}
	}
}

func TestALabelIsRead(t *testing.T) {
	exclusive := "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n" +
		"BACKUP METHOD: pg_start_backup\nBACKUP FROM: primary\nSTART TIME: 2026-01-02 12:00:00 UTC\nLABEL: nightly\nSTART TIMELINE: 1\n"
	tests := []struct {
		name  string
		text  string
		state State
		major int
		want  bool
	}{
		{"an exclusive backup of a primary that crashed, or a copy", exclusive, InProduction, 14, true},
		{"of a version that has none", exclusive, InProduction, 15, false},
		{"of a standby's data", exclusive, InArchiveRecovery, 14, false},
		{"a copy by pg_basebackup", strings.Replace(exclusive, "pg_start_backup", "streamed", 1), InProduction, 14, false},
		{"of a backup that a standby was asked for", strings.Replace(exclusive, "FROM: primary", "FROM: standby", 1), InProduction, 14, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "backup_label"), []byte(test.text), 0o600))
			l, err := ReadLabel(dir)
			must(t, err)
			if l.Start != 0x2000028 || l.Check != 0x2000060 || l.Timeline != 1 || l.Standby != strings.Contains(test.text, "standby") || l.Undecided(Control{State: test.state}, test.major) != test.want {
				t.Errorf("%+v", l)
			}
		})
	}
	if l, err := ReadLabel(t.TempDir()); l != nil || err != nil {
		t.Error(l, err)
	}
}
