package pg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// add writes text to the end of one of the administrator's files.
func (s *server) add(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.data, name), os.O_APPEND|os.O_WRONLY, 0)
	must(s.t, err)
	_, err = f.WriteString(text)
	must(s.t, errors.Join(err, f.Close()))
}

// here is the settings as the server has them.
func (s *server) here() Settings {
	settings := s.settings
	settings.ConfDir = s.conf
	return settings
}

func (s *server) readFiles(c *Conn) FileState {
	s.t.Helper()
	state, err := c.ReadFiles(s.t.Context(), s.here())
	must(s.t, err)
	return state
}

func (s *server) accept(c *Conn) {
	s.t.Helper()
	prints := Prints(s.data)
	uid, gid := postgresUser()
	must(s.t, Accept(s.conf, s.here(), s.readFiles(c), prints, uint32(uid), uint32(gid)))
}

func TestAnErrorInAFileIsNamed(t *testing.T) {
	s := newServer(t, "a", template)
	c := s.start()
	if state := s.readFiles(c); len(state.Conf)+len(state.Auto)+len(state.HBA)+len(state.Ident) > 0 {
		t.Fatalf("found in good files: %+v", state)
	}
	conf, hba, ident := filepath.Join(s.data, "postgresql.conf"), filepath.Join(s.data, "pg_hba.conf"), filepath.Join(s.data, "pg_ident.conf")
	must(t, os.WriteFile(filepath.Join(s.data, "more.conf"), []byte("\nwork_mem = lots\n"), 0o644))
	auto := filepath.Join(s.data, "postgresql.auto.conf")
	tests := []struct {
		file, text string
		problems   func(FileState) []FileProblem
		at         string
		says       string
		blocks     bool
	}{
		{conf, "work_mem == 64MB\n", func(f FileState) []FileProblem { return f.Conf }, conf, "syntax error", true},
		{conf, "max_conections = 10\n", func(f FileState) []FileProblem { return f.Conf }, conf, `max_conections: unrecognized configuration parameter`, true},
		{conf, "include 'nowhere.conf'\n", func(f FileState) []FileProblem { return f.Conf }, conf, "could not open file", true},
		{conf, "include 'more.conf'\n", func(f FileState) []FileProblem { return f.Conf }, filepath.Join(s.data, "more.conf"), "work_mem: setting could not be applied", false},
		{auto, "no_such_setting = 1\n", func(f FileState) []FileProblem { return f.Auto }, auto, "no_such_setting: unrecognized", true},
		{hba, "host all all 10.0.0.0/33 md5\n", func(f FileState) []FileProblem { return f.HBA }, hba, "invalid CIDR mask", true},
		{hba, "host all all 10.0.0.0/8 scarm-sha-256\n", func(f FileState) []FileProblem { return f.HBA }, hba, "invalid authentication method", true},
		{hba, "host all all 10.0.0.0/8 ldap ldapserver=x ldapbindpasswd=\"topsecret\n", func(f FileState) []FileProblem { return f.HBA }, hba, "", true},
		{ident, "m root\n", func(f FileState) []FileProblem { return f.Ident }, ident, "missing entry", true},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			original, err := os.ReadFile(test.file)
			must(t, err)
			defer func() { must(t, os.WriteFile(test.file, original, 0o600)) }()
			s.add(filepath.Base(test.file), test.text)
			s.configure() // before 16 ours have a copy of the access files
			state := s.readFiles(c)
			if test.file == ident && s.settings.Major < identViewVersion {
				t.Skip("PostgreSQL has no view of pg_ident.conf")
			}
			problems := test.problems(state)
			if len(problems) == 0 {
				t.Fatalf("nothing found: %+v", state)
			}
			p := problems[0]
			if p.File != test.at || !strings.Contains(p.Reason, test.says) || p.Blocks != test.blocks || p.Line == 0 {
				t.Errorf("%s (blocks: %t)", p, p.Blocks)
			}
			if text := fmt.Sprint(problems); strings.Contains(text, "topsecret") {
				t.Errorf("a password is told: %s", text)
			}
			want, _ := os.ReadFile(test.at)
			if lines := strings.Split(string(want), "\n"); test.at == test.file && lines[p.Line-1]+"\n" != test.text {
				t.Errorf("line %d is %q", p.Line, lines[p.Line-1])
			}
		})
	}
}

// PostgreSQL quotes what stands in pg_hba.conf, and that may be a password (parse_hba_auth_opt in hba.c).
func TestAReasonQuotesNoPassword(t *testing.T) {
	for text, want := range map[string]string{
		"authentication option not in name=value format: topsecret": "authentication option not in name=value format",
		`could not parse RADIUS secrets list "topsecret, other"`:    `could not parse RADIUS secrets list "..."`,
		`invalid ldapbindpasswd "topsecret" in file`:                `invalid ldapbindpasswd "..." in file`,
		`invalid CIDR mask in address "10.0.0.0/33"`:                `invalid CIDR mask in address "10.0.0.0/33"`,
		"end-of-line before\nauthentication method":                 "end-of-line before authentication method",
	} {
		if got := accessReason(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestASettingThatWaitsForARestartIsNoError(t *testing.T) {
	s := newServer(t, "a", template)
	c := s.start()
	s.add("postgresql.conf", "max_connections = 61\n")
	state := s.readFiles(c)
	at := slices.IndexFunc(state.Settings, func(f FileSetting) bool { return f.Name == "max_connections" && f.Value == "61" })
	if len(state.Conf) > 0 || at < 0 || !state.Settings[at].Pending {
		t.Errorf("%+v", state)
	}
}

func TestAFileThatTheServerMayNotReadIsAnError(t *testing.T) {
	s := newServer(t, "a", template)
	c := s.start()
	must(t, os.Chmod(filepath.Join(s.data, "postgresql.conf"), 0))
	must(t, os.Chown(filepath.Join(s.data, "postgresql.conf"), 0, 0))
	state := s.readFiles(c)
	if len(state.Conf) == 0 || !strings.Contains(state.Conf[0].String(), s.data+"/postgresql.conf") || !state.Conf[0].Blocks {
		t.Errorf("%+v", state.Conf)
	}
}

func TestTheAcceptedCopyStandsInForABrokenFile(t *testing.T) {
	s := newServer(t, "a", template)
	s.add("postgresql.conf", `my.text = 'it''s a \\ "test"' # `+"\nmy.text = 'it''s the \\\\ last'\nmaintenance_work_mem = 12MB\nmax_connections = 55\n")
	s.add("pg_hba.conf", "host app app 10.9.8.7/32 reject\n")
	c := s.start()
	s.add("postgresql.auto.conf", "no_such_setting = 1\n")
	if s.accept(c); HasAccepted(s.conf, Conf) {
		t.Error("accepted while PostgreSQL looks at no value because of another file")
	}
	must(t, os.WriteFile(filepath.Join(s.data, "postgresql.auto.conf"), nil, 0o600))
	s.accept(c)
	s.add("postgresql.conf", "max_connections = 77\n") // in force after a restart that may not succeed
	s.accept(c)
	s.add("postgresql.conf", "work_mem == 64MB\n")
	s.add("pg_hba.conf", "host all all nonsense\n")
	s.accept(c) // nothing of this
	s.settings.Accepted = []Kind{Conf, HBA, Ident}
	s.settings.Synchronous = []string{"b"}
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "our setting", func() error {
		if c.lookNow(t).Synchronous != `"b"` {
			return errors.New("not in force")
		}
		return nil
	})
	s.stop()
	c = s.start()
	for name, want := range map[string]string{"my.text": `it's the \ last`, "maintenance_work_mem": "12MB", "max_connections": "55", "synchronous_standby_names": `"b"`} {
		if got := c.value(t, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := c.value(t, "SELECT count(*)::text FROM pg_hba_file_rules WHERE address = '10.9.8.7'"); got != "1" {
		t.Errorf("%s rules of the administrator's", got)
	}
	for _, kind := range Kinds() {
		info, err := os.Stat(AcceptedFile(s.conf, kind))
		must(t, err)
		if info.Mode().Perm() != 0o640 {
			t.Errorf("%s has mode %v", kind, info.Mode())
		}
	}
}

// Before PostgreSQL 16 the administrator's access files are copied into ours: what cannot be copied must neither lock the
// clients out nor hold up what commits wait for.
func TestAnAccessFileThatCannotBeReadHoldsUpNothing(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"a link to itself": func(path string) error { return os.Symlink("pg_hba.conf", path) },
		"a directory":      func(path string) error { return os.Mkdir(path, 0o700) },
		"too large":        func(path string) error { return os.WriteFile(path, make([]byte, ConfSize+1), 0o600) },
	} {
		data, conf := t.TempDir(), t.TempDir()
		must(t, spoil(filepath.Join(data, "pg_hba.conf")))
		s := Settings{Major: 15, PGData: data, Synchronous: []string{"b"}}
		if _, err := WriteConf(conf, s, 0, 0); err == nil {
			t.Errorf("%s: no error without a copy", name)
		}
		if text, err := os.ReadFile(filepath.Join(conf, "managed.conf")); err != nil || !strings.Contains(string(text), `'"b"'`) {
			t.Errorf("%s: managed.conf is %q: %v", name, text, err)
		}
		must(t, os.WriteFile(AcceptedFile(conf, HBA), []byte("host app app 10.9.8.7/32 reject\n"), 0o600))
		_, err := WriteConf(conf, s, 0, 0)
		text, errRead := os.ReadFile(filepath.Join(conf, "pg_hba.conf"))
		if err != nil || errRead != nil || !strings.Contains(string(text), "10.9.8.7") {
			t.Errorf("%s: pg_hba.conf is %q: %v %v", name, text, err, errRead)
		}
	}
}

func TestAccessFilesAreKeptWithWhatTheyInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	write("pg_hba.conf", "# include no.conf\nhost @names all all md5\ninclude a.conf\ninclude_if_exists missing.conf\ninclude_dir \"d\"\n")
	write("a.conf", "a\n")
	write("d/2.conf", "d2 @list\n")
	write("d/1.conf", "d1")
	write("d/.3.conf", "d3\n")
	got, err := flatten(filepath.Join(dir, "pg_hba.conf"), 16, 0)
	must(t, err)
	want := "# include no.conf\nhost @" + dir + "/names all all md5\na\nd1\nd2 @" + dir + "/d/list\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	before := FilePrint(dir, HBA)
	write("d/2.conf", "other\n")
	if FilePrint(dir, HBA) == before {
		t.Error("a change of an included file is not seen")
	}
	write("a.conf", "include a.conf\n")
	if _, err := flatten(filepath.Join(dir, "pg_hba.conf"), 16, 0); err == nil {
		t.Error("files that include one another are no error")
	}
}

func TestASettingsTextIsHarmless(t *testing.T) {
	if got := clip("a\nb\x1b[31m\xff"+strings.Repeat("x", 300), 20); strings.ContainsAny(got, "\n\x1b") || len(got) > 23 {
		t.Errorf("%q", got)
	}
}
