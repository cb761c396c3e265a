package pg

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseSynchronous(t *testing.T) {
	for text, want := range map[string]Synchronous{
		"":                       {},
		"  ":                     {},
		"*":                      {Count: 1, Names: []string{"*"}},
		"h2":                     {Count: 1, Names: []string{"h2"}},
		"h2, h3":                 {Count: 1, Names: []string{"h2", "h3"}},
		"2 (h2, h3)":             {Count: 2, Names: []string{"h2", "h3"}},
		"FIRST 1 (h2,h3)":        {Count: 1, Names: []string{"h2", "h3"}},
		"any 1 (*)":              {Any: true, Count: 1, Names: []string{"*"}},
		`ANY 2("h-2", "a""b,)")`: {Any: true, Count: 2, Names: []string{"h-2", `a"b,)`}},
		"7, h2":                  {Count: 1, Names: []string{"7", "h2"}},
		All([]string{"h1", "h2", "h3"}, 2).String(): {Any: true, Count: 1, Names: []string{"h1", "h2", "h3"}},
		All([]string{"h1", "h2"}, 0).String():       {Count: 2, Names: []string{"h1", "h2"}},
	} {
		if got, err := ParseSynchronous(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestPriorityIsTheAdministrators(t *testing.T) {
	wish, err := ParseSynchronous("FIRST 1 (h3, H1, *)")
	must(t, err)
	s := Settings{Synchronous: []string{"h1", "h2", "h3"}, Spared: 2, First: true}
	wish.Sort(s.Synchronous)
	if got := s.synchronous().String(); got != `FIRST 1 ("h3", "h1", "h2")` {
		t.Error(got)
	}
	s.First = false
	if got := s.synchronous().String(); got != `ANY 1 ("h3", "h1", "h2")` {
		t.Error(got)
	}
}

// PostgreSQL and we call the same values wrong.
func TestParseSynchronousAgreesWithPostgreSQL(t *testing.T) {
	t.Parallel()
	s := newServer(t, "parse", template)
	c := s.start()
	for _, text := range []string{"", "*", "h2", `"h2"`, "h2,h3", "h2 h3", ",h2", "h2,", "ANY 1 (h2)", "ANY (h2)", "ANY 0 (h2)", "1 (h2", "1 h2)",
		"FIRST 2 (h2, h3)", "FIRST 2", "LAST 1 (h2)", "h-2", `"h-2"`, `"h2`, "ANY 1 ()", "ANY 1 (*)", "any 3(a,b,c)", "2(a,,b)", "é", "a$b", "12", "(a)", `"any" 1 (a)`,
		"any", "first", "ANY 1 (any)", "a.b", "1a", "ANY 1x (a)"} {
		_, err := c.session.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = '"+strings.ReplaceAll(text, "'", "''")+"'")
		_, ours := ParseSynchronous(text)
		if (err == nil) != (ours == nil) {
			t.Errorf("%q: PostgreSQL says %v, we %v", text, err, ours)
		}
	}
}

func TestTheAdministratorsOwnSettingIsFound(t *testing.T) {
	t.Parallel()
	s := newServer(t, "own", template)
	s.settings.Synchronous = []string{"a"}
	c := s.start()
	want := func(text string) {
		t.Helper()
		if got, err := c.AdministratorsSynchronous(t.Context()); err != nil || got != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	want("")
	write := func(name, text string) {
		f, err := os.OpenFile(filepath.Join(s.data, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		must(t, err)
		defer f.Close()
		_, err = f.WriteString(text)
		must(t, err)
	}
	write("postgresql.conf", "\nsynchronous_standby_names = 'FIRST 1 (h2, h3)'\n")
	want("FIRST 1 (h2, h3)")
	if got, err := FileSynchronous(s.data); err != nil || got != "FIRST 1 (h2, h3)" {
		t.Errorf("without a server: %q, %v", got, err)
	}
	write("own.conf", "synchronous_standby_names = 'nonsense ('\n")
	write("postgresql.conf", "include = 'own.conf'\n")
	want("nonsense (")
	c.must(t, "ALTER SYSTEM SET synchronous_standby_names = '*'") // is taken back, and not asked for anything
	want("nonsense (")
}
