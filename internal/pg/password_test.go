package pg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// login is what psql says of a role's password in a password file: "" for welcome.
func (s *server) login(user, file string) string {
	ctx, cancel := context.WithTimeout(s.t.Context(), 40*time.Second)
	defer cancel()
	uid, gid := postgresUser()
	cmd := exec.CommandContext(ctx, psql, "-XAtw", "-h", "127.0.0.1", "-p", fmt.Sprint(s.settings.Port), "-U", user, "-d", "postgres", "-c", "SELECT 1")
	cmd.Env, cmd.Dir = []string{"LC_ALL=C.UTF-8", "PGPASSFILE=" + file, "PGCONNECT_TIMEOUT=30"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return ""
}

// psql is libpq's, of the version that the distribution has: the servers of other versions come without one.
const psql = "/usr/lib/postgresql/15/bin/psql"

// ownLogin is the driver's login with the same file.
func (s *server) ownLogin(user, file string) error {
	target := s.remote()
	target.User, target.Database, target.PassFile = user, "postgres", file
	c, err := Connect(s.t.Context(), target)
	if err == nil {
		err = c.Close(s.t.Context())
	}
	return err
}

// Everything that reads a password has to take it for the same: the file's reader here, libpq, pgx, the
// verifier that pgtwin stores and the one that the server makes of the password itself.
func TestAPasswordWorksForEverybodyOrIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, "passwords", template)
	c := s.start()
	hba := filepath.Join(s.data, "pg_hba.conf")
	must(t, os.WriteFile(hba, []byte("host all all 127.0.0.1/32 scram-sha-256\n"), 0o600))
	s.configure()
	must(t, c.Reload(t.Context()))

	for number, test := range []struct {
		field string // of the password file, escaped
		want  Password
		says  string // "" where the password works
	}{
		{`plain`, "plain", ""},
		{`  two blanks before`, "  two blanks before", ""},
		{`a#b "c" 'd' $e %f`, `a#b "c" 'd' $e %f`, ""},
		{`#hash`, "#hash", ""},
		{`\\`, `\`, ""},
		{`\\\\\\`, `\\\`, ""},
		{`x\`, `x\`, ""},
		{`\n\t`, "nt", ""},
		{`\:\\\:\:`, `:\::`, ""},
		{`a\:b`, "a:b", ""},
		{strings.Repeat("long ", 199) + "pass.", Password(strings.Repeat("long ", 199) + "pass."), ""},
		{"grün", "grün", ""},
		{"пароль 密码 パスワード", "пароль 密码 パスワード", ""},
		{"עברabc", "עברabc", ""},                         // prohibited by SASLprep: taken as it is
		{"\U0001F600 smile", "\U0001F600 smile", ""},     // unassigned in Unicode 3.2
		{"\u1E9E\u20AC\u00DF", "\u1E9E\u20AC\u00DF", ""}, // not folded, capital sharp s is of Unicode 5.1
		{"a:b", "", "colon"},
		{"trailing ", "", "blank"},
		{"tab\tbed", "", "control"},
		{"cr\rcr", "", "control"},
		{"esc\x1b", "", "control"},
		{"bell\x7f", "", "control"},
		{"\xff\xfe", "", "UTF-8"},
		{"no\u00A0break", "", "replaces"},
		{"ideographic\u3000space", "", "replaces"},
		{"soft\u00ADhyphen", "", "replaces"},
		{"zero\u200Bwidth", "", "replaces"},
		{"joiner\u200D", "", "replaces"},
		{"\u2168", "", "replaces"},     // ROMAN NUMERAL NINE, NFKC: IX
		{"of\uFB01ce", "", "replaces"}, // ligature fi
		{"\uFF50\uFF57", "", "replaces"},
		{"gru\u0308n", "", "replaces"}, // decomposed
		{"\u212B", "", "replaces"},     // ANGSTROM SIGN, also NFC
		{"heart\u2764\uFE0F", "", "replaces"},
		{"private\uE000", "", "replaces"},
		{"unassigned\U000E1000", "", "replaces"},
		{strings.Repeat("x", 1001), "", "1001 bytes"},
	} {
		t.Run(fmt.Sprintf("%.20q", test.field), func(t *testing.T) {
			theirs := filepath.Join(s.dir, fmt.Sprint("pgpass-", number))
			user := fmt.Sprint("user", number)
			writeSecret(t, theirs, "*:*:replication:"+user+":"+test.field+"\r\n")
			got, err := ReadPassFile(theirs, 5432, nil, nil, "postgres")
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), test.field) || !strings.Contains(err.Error(), "line 1 of") {
					t.Fatalf("error %v, want one that says %q, and not the password", err, test.says)
				}
				return
			}
			must(t, err)
			if got.Password != test.want {
				t.Fatalf("read %q", string(got.Password))
			}
			// What the server makes of the password, and what pgtwin does.
			c.must(t, "CREATE ROLE "+user+" LOGIN PASSWORD "+quoteLiteral(string(test.want)))
			if has, err := c.HasPassword(t.Context(), got); err != nil || !has {
				t.Errorf("the server's verifier is not of this password (%v)", err)
			}
			must(t, c.EnsureReplicationRole(t.Context(), "own"+user, got.Password))
			for _, role := range []string{user, "own" + user} {
				file := filepath.Join(s.dir, "written-"+role)
				uid, gid := postgresUser()
				must(t, WritePassFile(file, Credential{User: role, Password: got.Password}, uint32(uid), uint32(gid)))
				if says := s.login(role, file); says != "" {
					t.Errorf("libpq as %s: %s", role, says)
				}
				if err := s.ownLogin(role, file); err != nil {
					t.Errorf("pgx as %s: %v", role, err)
				}
			}
			// The administrator's own file, where libpq reads it.
			writeSecret(t, theirs, "*:*:postgres:"+user+":"+test.field+"\r\n")
			if says := s.login(user, theirs); says != "" {
				t.Errorf("libpq with the administrator's file: %s", says)
			}
		})
	}
}

// The refusals are needed: with these libpq and pgx do not both get in.
func TestRefusedPasswordsWouldNotWorkForEverybody(t *testing.T) {
	t.Parallel()
	s := newServer(t, "refused", template)
	c := s.start()
	must(t, os.WriteFile(filepath.Join(s.data, "pg_hba.conf"), []byte("host all all 127.0.0.1/32 scram-sha-256\n"), 0o600))
	s.configure()
	must(t, c.Reload(t.Context()))
	for number, password := range []string{"plain", "trailing ", "cr\rcr", "soft\u00ADhyphen", "\u2168", "of\uFB01ce"} {
		user, file := fmt.Sprint("user", number), filepath.Join(s.dir, fmt.Sprint("file", number))
		c.must(t, "CREATE ROLE "+user+" LOGIN PASSWORD "+quoteLiteral(password))
		writeSecret(t, file, "*:*:*:"+user+":"+password+"\n")
		if works := s.login(user, file) == "" && s.ownLogin(user, file) == nil; works != (password == "plain") {
			t.Errorf("%q works for both: %v", password, works)
		}
	}
}

func quoteLiteral(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	uid, gid := postgresUser()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	must(t, os.Chown(path, uid, gid))
}
