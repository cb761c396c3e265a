package pg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nastyConf are files that PostgreSQL reads in ways that a simpler parser would not.
func nastyConf() map[string]string {
	files := map[string]string{
		"postgresql.conf": "# a comment\nmax_connections=20# behind\nMax_Connections 30\n\tport = '5999'   # x\r\n" +
			"application_name = 'it''s \\'so\\' \\101\\n\\q \\\\'\n" +
			"shared_buffers = 0x10MB\nwork_mem='4 MB'\nseq_page_cost=1.5\nrandom_page_cost .5e1\ncpu_tuple_cost = +.1\ngeqo_seed=-0\n" +
			"lc_messages = C.UTF-8\nsearch_path = public\nmy.own_thing = on\nMY.Other='ü \xff'\ncustom.größe = x1\n" +
			"timezone=Europe/Berlin\nlog_line_prefix = ''\n" +
			"include 'more.conf'\ninclude_if_exists = 'missing.conf'\ninclude_dir 'conf.d'\nINCLUDE_if_EXISTS 'missing2.conf'\n" +
			"wal_level=minimal\nwal_level 'replica'\nmax_wal_senders = 3",
		"more.conf":             "include sub/deep.conf\nmax_worker_processes = 4\n",
		"sub/deep.conf":         "include_if_exists '../relative.conf'\nmax_prepared_transactions = 1\n",
		"relative.conf":         "max_prepared_transactions = 2\nwork_mem = 8MB\n",
		"conf.d/10.conf":        "work_mem = 16MB\n",
		"conf.d/2.conf":         "work_mem = 32MB\n",
		"conf.d/.hidden.conf":   "work_mem = 64MB\nhidden.one = 1\n",
		"conf.d/.conf":          "work_mem = 65MB\nhidden.two = 2\n",
		"conf.d/other.cnf":      "work_mem = 128MB\n",
		"conf.d/dir.conf/a":     "work_mem = 256MB\n",
		"conf.d/Z.conf":         "maintenance_work_mem = 1GB\n",
		"postgresql.auto.conf":  "# Do not edit\nmax_connections = '44'\n",
		"chain0.conf":           "geqo_threshold = 12\n",
		"conf.d/unreadable.txt": "",
	}
	for i := 1; i <= 8; i++ { // the deepest that is allowed: postgresql.conf itself is included by ours
		files[fmt.Sprintf("chain%d.conf", i)] = fmt.Sprintf("include 'chain%d.conf'\n", i-1)
	}
	files["postgresql.conf"] += "\ninclude 'chain8.conf'\n"
	return files
}

// brokenConf are lines for each of which PostgreSQL refuses the configuration.
func brokenConf() []string {
	return []string{"max_connections 20 30", "max_connections =", "max_connections", "= 3", "'max' = 3", "work_mem = 1.5GB",
		"application_name = 'not closed", "application_name = 'closed' 'twice'", "application_name = a.b", "work_mem = 4 MB", "7 = 3",
		"search_path = a, b", "search_path = $user", "a.b.c = 1", "application_name = \"double\"", "listen_addresses = *",
		"include 'gone.conf'", "include ''", "include_if_exists ' '", "include_dir 'gone'", "include 'postgresql.conf'", "include 'round1.conf'",
		"include 'dir'", "log_line_prefix = '%m\\", "<<<<<<< HEAD", "work_mem == 1"}
}

func writeFilesOf(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// PostgreSQL itself says what it reads: pg_file_settings reads the files anew at each question.
func TestConfigurationFilesAreReadAsPostgreSQLReadsThem(t *testing.T) {
	s := newServer(t, "files", template)
	c := s.start()
	writeFilesOf(t, s.data, nastyConf())
	compareFileSettings(t, s, c)
	if got := ReadConfFiles(s.data); len(got.Problems) > 0 || got.Of("max_connections") != "44" || got.Of("work_mem") != "32MB" ||
		got.Values["max_wal_senders"].Line == 0 || got.Of("geqo_threshold") != "12" {
		t.Errorf("%+v", got)
	}
	must(t, os.Mkdir(filepath.Join(s.data, "dir"), 0o755))
	writeFilesOf(t, s.data, map[string]string{"round1.conf": "include 'round2.conf'", "round2.conf": "include round1.conf", "postgresql.auto.conf": ""})
	for _, line := range brokenConf() {
		writeFilesOf(t, s.data, map[string]string{"postgresql.conf": "work_mem = 1MB\n" + line + "\nport=5998\n"})
		if got := ReadConfFiles(s.data); len(got.Problems) == 0 || got.Problems[0].Line == 0 {
			t.Errorf("%q: no problem, values %v", line, got.Values)
		}
		compareFileSettings(t, s, c)
	}
}

// compareFileSettings compares values, their places and whether there is a problem.
func compareFileSettings(t *testing.T, s *server, c *Conn) {
	t.Helper()
	rows, err := c.session.Query(t.Context(), `SELECT coalesce(sourcefile, ''), coalesce(sourceline, 0), coalesce(lower(name), ''), coalesce(setting, ''), coalesce(error, '')
		FROM pg_file_settings WHERE sourcefile IS NULL OR sourcefile NOT LIKE $1 || '/%' ORDER BY seqno`, s.conf)
	must(t, err)
	defer rows.Close()
	want, errs := map[string]ConfValue{}, []string(nil)
	for rows.Next() {
		var v ConfValue
		var name, wrong string
		must(t, rows.Scan(&v.File, &v.Line, &name, &v.Text, &wrong))
		switch {
		case name != "":
			want[name] = v
		case !strings.Contains(wrong, "without restarting the server"): // a line that is gone since the start
			errs = append(errs, wrong)
		}
	}
	must(t, rows.Err())
	got := ReadConfFiles(s.data)
	for name, v := range want {
		if got.Values[name] != v {
			t.Errorf("%s: read %+v, PostgreSQL %+v", name, got.Values[name], v)
		}
	}
	for name, v := range got.Values {
		if _, known := want[name]; !known && len(errs) == 0 {
			t.Errorf("%s: read %+v, PostgreSQL nothing (%q)", name, v, errs)
		}
	}
	// At the level of a question PostgreSQL gives up after the first syntax error (ParseConfigFp).
	if len(got.Problems) < len(errs) || len(got.Problems) > 0 && len(errs) == 0 {
		t.Errorf("problems %q, PostgreSQL %q", got.Problems, errs)
	}
}

// What a data directory has of devices, pipes and large files is read by nobody.
func TestConfigurationFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/dev/zero", filepath.Join(dir, "zero.conf")))
	writeFilesOf(t, dir, map[string]string{
		"large.conf":      strings.Repeat("# a line\n", ConfSize/9+1),
		"twice.conf":      "include_if_exists 'more.conf'\ninclude_if_exists 'more.conf'\n",
		"more.conf":       "include_if_exists 'twice.conf'\ninclude_if_exists 'twice.conf'\ninclude_if_exists 'twice.conf'\n",
		"secret.conf":     "'s3cret' s3cret s3cret\n",
		"postgresql.conf": "include 'zero.conf'\ninclude 'large.conf'\ninclude 'secret.conf'\ninclude 'more.conf'\n",
	})
	problems := ReadConfFiles(dir).Problems
	for _, why := range []string{"no regular file", "larger than", "syntax error", "more than 500 files"} {
		if !slices.ContainsFunc(problems, func(p ConfProblem) bool { return strings.Contains(p.Why, why) }) {
			t.Errorf("%q is not said", why)
		}
	}
	for _, p := range problems {
		if strings.Contains(p.String(), "s3cret") {
			t.Errorf("content is quoted: %s", p)
		}
	}
}
