package units

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnEnabledUnitOverOurDataIsNamed(t *testing.T) {
	const wants = "etc/systemd/system/multi-user.target.wants/"
	opensuse := map[string]string{wants + "postgresql.service": "->/usr/lib/systemd/system/postgresql.service",
		"usr/lib/systemd/system/postgresql.service": "[Service]\nExecStart=/usr/share/postgresql/postgresql-script start\n"}
	with := func(files map[string]string, more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range files {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	debian := map[string]string{wants + "postgresql.service": "->/lib/systemd/system/postgresql.service",
		"etc/postgresql/15/main/postgresql.conf":  "data_directory = '/data/db'\t# use data in another directory\n",
		"etc/postgresql/15/other/postgresql.conf": "data_directory = '/data/other'\n"}
	redhat := map[string]string{wants + "postgresql-16.service": "->/usr/lib/systemd/system/postgresql-16.service",
		"usr/lib/systemd/system/postgresql-16.service": "[Service]\nEnvironment=PGDATA=/var/lib/pgsql/16/data/\nExecStart=/usr/pgsql-16/bin/postgres -D ${PGDATA}\n"}
	tests := []struct {
		name  string
		files map[string]string
		dir   string
		unit  string // "": none
		do    string
	}{
		{"openSUSE's default", opensuse, "/var/lib/pgsql/data", "postgresql.service", "systemctl disable --now postgresql.service"},
		{"openSUSE's, set elsewhere", with(opensuse, "etc/sysconfig/postgresql", "# x\nPOSTGRES_DATADIR=\"/data/db\"\n"), "/data/db", "postgresql.service", ""},
		{"openSUSE's in its home", with(opensuse, "etc/sysconfig/postgresql", "POSTGRES_DATADIR=\"~postgres/data\"\n"), "/var/lib/pgsql/data", "postgresql.service", ""},
		{"openSUSE's over other data", opensuse, "/data/db", "", ""},
		{"not enabled", map[string]string{"usr/lib/systemd/system/postgresql.service": "[Service]\n"}, "/var/lib/pgsql/data", "", ""},
		{"masked", with(opensuse, "etc/systemd/system/postgresql.service", "->/dev/null"), "/var/lib/pgsql/data", "", ""},
		{"Red Hat's", redhat, "/var/lib/pgsql/16/data", "postgresql-16.service", "systemctl disable --now postgresql-16.service"},
		{"Red Hat's with a drop-in", with(redhat, "etc/systemd/system/postgresql-16.service.d/o.conf", "[Service]\nEnvironment=PGDATA=/data/db\n"), "/data/db", "postgresql-16.service", ""},
		{"Debian's cluster", debian, "/data/db", "postgresql@15-main.service", "echo manual > /etc/postgresql/15/main/start.conf"},
		{"Debian's postgresql.service starts no server of its own", debian, "/var/lib/pgsql/data", "", ""},
		{"Debian's cluster that is not started", with(debian, "etc/postgresql/15/main/start.conf", "# x\n\nmanual\n"), "/data/db", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			fill(t, root, test.files)
			found := Starters(root, test.dir)
			if test.unit == "" && len(found) == 0 {
				return
			}
			if len(found) != 1 || found[0].Name != test.unit || test.do != "" && found[0].Disable != test.do {
				t.Errorf("%+v, want %q", found, test.unit)
			}
		})
	}
}

// fill writes the files of a host below root, beside its data directories; "->" begins a link.
func fill(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for _, dir := range []string{"var/lib/pgsql/data", "var/lib/pgsql/16/data", "data/db", "data/other"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if to, link := strings.CutPrefix(text, "->"); link {
			must(t, os.Symlink(to, path))
		} else {
			must(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
