package pg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// forgeable lets a session change catalogs as programs with another C library or ICU would have left them.
func forgeable(t *testing.T, c *Conn) *Conn {
	t.Helper()
	c.must(t, "SET allow_system_table_mods = on")
	c.must(t, "SET search_path = public")
	return c
}

func in(t *testing.T, s *server, database string) *Conn {
	t.Helper()
	target := s.local()
	target.Database = database
	c, err := Connect(t.Context(), target)
	must(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return forgeable(t, c)
}

func collationOf(all []Collation, database, name string) *Collation {
	if at := slices.IndexFunc(all, func(c Collation) bool { return c.Database == database && c.Name == name }); at >= 0 {
		return &all[at]
	}
	return nil
}

func TestCollationsInUse(t *testing.T) {
	s := newServer(t, "collations", template)
	postgres := forgeable(t, s.start())
	postgres.must(t, `CREATE DATABASE "My ""App"`)
	app := in(t, s, `My "App`)
	for _, sql := range []string{
		`CREATE COLLATION "Old" (provider = icu, locale = 'de', version = '1.2')`,
		`CREATE COLLATION unused (provider = icu, locale = 'fr')`,
		`CREATE COLLATION present (provider = icu, locale = 'sv')`,
		`CREATE COLLATION terminal (provider = icu, locale = 'fi', version = E'1\x1b[2J` + strings.Repeat("9", 1000) + `')`,
		`CREATE TABLE t (a text COLLATE "Old", b text COLLATE "C", c text COLLATE present, d text COLLATE terminal)`,
		`CREATE INDEX "a line` + "\n" + `feed" ON t (a)`,
		`CREATE INDEX ON t (b)`,
		`CREATE INDEX expression ON t ((b COLLATE "Old"))`,
		`CREATE TABLE p (a text COLLATE "Old") PARTITION BY RANGE (a)`,
		`ALTER TABLE t ADD CONSTRAINT smallest CHECK (b > 'x' COLLATE "Old")`,
	} {
		app.must(t, sql)
	}
	all, err := Collations(t.Context(), s.local())
	must(t, err)
	old, present := collationOf(all, `My "App`, `public."Old"`), collationOf(all, `My "App`, "public.present")
	if terminal := collationOf(all, `My "App`, "public.terminal"); terminal == nil || terminal.Recorded != "1?[2J"+strings.Repeat("9", 95) {
		t.Errorf("%+v", terminal)
	}
	if len(all) != 3 || old == nil || present == nil {
		t.Fatalf("found %+v", all)
	}
	if old.Recorded != "1.2" || old.Actual == "" || !old.Stored || !old.Changed() || old.Provider != "icu" || old.Locale != "de" {
		t.Errorf("%+v", old)
	}
	if present.Changed() {
		t.Errorf("%+v", present)
	}
	names, more, err := CollationObjects(t.Context(), s.local(), *old)
	must(t, err)
	if want := []string{`public."a line?feed"`, "public.expression", "public.p", "smallest on public.t"}; !slices.Equal(sorted(names), sorted(want)) || more != 0 {
		t.Errorf("objects %q and %d more", names, more)
	}
	if want := `REINDEX DATABASE "My ""App", then ALTER COLLATION public."Old" REFRESH VERSION in it`; old.Remedy() != want {
		t.Errorf("remedy %s", old.Remedy())
	}
	app.must(t, strings.Replace(old.Remedy(), `REINDEX DATABASE "My ""App", then `, "", 1)[:len(`ALTER COLLATION public."Old" REFRESH VERSION`)])
	if all, err := Collations(t.Context(), s.local()); err != nil || collationOf(all, `My "App`, `public."Old"`).Changed() {
		t.Errorf("after the refresh: %+v, %v", all, err)
	}
}

// The locale need not be on this machine: PostgreSQL asks the C library for its version whatever it is. Sessions in that
// database fail, as in one that is damaged.
func TestTheDefaultOfADatabase(t *testing.T) {
	s := newServer(t, "defaults", template)
	c := forgeable(t, s.start())
	for _, sql := range []string{
		"CREATE DATABASE glibc", "CREATE DATABASE bytes", "CREATE DATABASE closed", "CREATE DATABASE unfinished",
		"UPDATE pg_database SET datcollate = 'en_US.UTF-8' WHERE datname IN ('glibc', 'closed', 'unfinished')",
		"UPDATE pg_database SET datcollate = 'C.UTF-8' WHERE datname = 'bytes'",
		"UPDATE pg_database SET datallowconn = false WHERE datname = 'closed'",
		"UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'unfinished'",
		// What initdb imports from a machine that has the locale: 14 knows the version of the C library by such alone.
		`INSERT INTO pg_collation SELECT (jsonb_populate_record(c, '{"oid": 9999, "collname": "en_US", "collcollate": "en_US.UTF-8", "collctype": "en_US.UTF-8"}')).*
			FROM pg_collation c WHERE collname = 'C'`,
	} {
		c.must(t, sql)
	}
	if s.settings.Major >= 15 {
		c.must(t, "UPDATE pg_database SET datcollversion = '2.19' WHERE datname IN ('glibc', 'bytes')")
	}
	all, err := Collations(t.Context(), s.local())
	if err == nil || !strings.Contains(err.Error(), "in database glibc") {
		t.Errorf("error %v", err)
	}
	if len(all) != 1 || all[0].Database != "glibc" || all[0].Name != "" || all[0].Actual == "" || all[0].Provider != "libc" {
		t.Fatalf("found %+v", all)
	}
	if stored := s.settings.Major >= 15; all[0].Stored != stored || stored && all[0].Recorded != "2.19" {
		t.Errorf("%+v", all[0])
	}
	if want := map[bool]string{true: `REINDEX DATABASE "glibc", then ALTER DATABASE "glibc" REFRESH COLLATION VERSION`, false: `REINDEX DATABASE "glibc"`}[all[0].Stored]; all[0].Remedy() != want {
		t.Errorf("remedy %s", all[0].Remedy())
	}
}

// The index of the database's default collation is among the objects, those in byte order are not; of many the first
// are named.
func TestObjectsInTheOrderOfTheDefault(t *testing.T) {
	s := newServer(t, "objects", template)
	c := forgeable(t, s.start())
	c.must(t, `CREATE TABLE t (a text, b text COLLATE "C")`)
	c.must(t, "CREATE INDEX bytes ON t (b)")
	for n := range maxCollationObjects + 3 {
		c.must(t, fmt.Sprintf("CREATE INDEX text%d ON t (a)", n))
	}
	names, more, err := CollationObjects(t.Context(), s.local(), Collation{Database: "postgres", OID: defaultCollation})
	must(t, err)
	if len(names) != maxCollationObjects || more != 3 || names[0] != "public.text0" {
		t.Errorf("%q and %d more", names, more)
	}
}

func TestADatabaseWithICU(t *testing.T) {
	s := newServer(t, "icu", template)
	if s.settings.Major < 15 {
		return // a database's default is always the C library's
	}
	c := forgeable(t, s.start())
	c.must(t, "CREATE DATABASE app TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING utf8")
	all, err := Collations(t.Context(), s.local())
	must(t, err)
	if len(all) != 1 || all[0].Changed() || all[0].Actual == "" || all[0].Locale != "en" {
		t.Fatalf("%+v", all)
	}
	c.must(t, "UPDATE pg_database SET datcollversion = '1.2' WHERE datname = 'app'")
	all, err = Collations(t.Context(), s.local())
	must(t, err)
	if len(all) != 1 || !all[0].Changed() || all[0].Recorded != "1.2" {
		t.Errorf("%+v", all)
	}
}

// A lock on a table of one database delays the look by lock_timeout and not for ever.
func TestALockedCatalogEndsTheLookAtItsDatabase(t *testing.T) {
	s := newServer(t, "locked", template)
	c := s.start()
	c.must(t, "CREATE DATABASE app")
	holder := in(t, s, "app")
	holder.must(t, "BEGIN")
	holder.must(t, "LOCK pg_collation")
	if _, err := Collations(t.Context(), s.local()); !hasCode(err, "55P03") || !strings.Contains(err.Error(), "in database app") {
		t.Errorf("error %v", err)
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
