package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
)

// Bounds of one look at the collations: sessions that are opened, collations that are kept, and
// objects that are named.
const (
	maxCollationDatabases = 100
	maxCollations         = 1000
	maxCollationObjects   = 5
)

// defaultCollation is the OID of the collation "default" (pg_collation.dat).
const defaultCollation = 100

// Collation is a collation on whose version the order of stored text depends: the default of a
// database, or one that an index, column, constraint or partition key of the database uses. C,
// POSIX, C.UTF-8 and those of the provider builtin have no version and are never among them.
type Collation struct {
	Database string
	Name     string // SCHEMA.COLLATION, quoted where SQL needs it; "": the database's default
	OID      uint32
	Provider string // libc or icu
	Locale   string
	Actual   string // version of the C library or ICU that the server runs with; "": it tells none (musl)
	Recorded string // version by which the text was sorted; "": none is known
	Stored   bool   // PostgreSQL's catalog has Recorded; not so for the default of a database before 15
}

// Changed says whether indexes may be in another order than the one that the server expects.
func (c Collation) Changed() bool { return c.Recorded != c.Actual }

// databaseCollations finds the default of every database. to_jsonb because the columns differ between the
// versions: 14 has datcollate alone, 15 and 16 daticulocale, 17 datlocale.
const databaseCollations = `SELECT d.datname::text, %d::bigint, '', coalesce(j->>'datlocprovider', 'c'),
	left(coalesce(CASE j->>'datlocprovider' WHEN 'i' THEN coalesce(j->>'datlocale', j->>'daticulocale') ELSE j->>'datcollate' END, ''), 100),
	left(coalesce(%s, ''), 100), left(coalesce(j->>'datcollversion', ''), 100)
	FROM pg_database d, to_jsonb(d) j WHERE d.datallowconn AND d.datconnlimit <> -2 ORDER BY d.datname`

// The version of a database's default. Before 15 only collations with a name can be asked for theirs; the C
// library has one version for all of them.
const (
	actualVersion   = "pg_database_collation_actual_version(d.oid)"
	actualVersion14 = "(SELECT max(pg_collation_actual_version(oid)) FROM pg_collation WHERE collprovider = 'c')"
)

// usedCollations finds those that stored text depends on by name.
const usedCollations = `SELECT current_database()::text, c.oid::bigint, format('%I.%I', n.nspname, c.collname), c.collprovider::text,
	left(coalesce(j->>'colllocale', j->>'colliculocale', j->>'collcollate', ''), 100),
	left(coalesce(pg_collation_actual_version(c.oid), ''), 100), left(coalesce(c.collversion, ''), 100)
	FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace, to_jsonb(c) j
	WHERE c.collprovider IN ('c', 'i') AND EXISTS (SELECT FROM pg_depend d
		WHERE d.refclassid = 'pg_collation'::regclass AND d.refobjid = c.oid
		AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_type'::regclass))
	ORDER BY n.nspname, c.collname`

// Collations asks a server, as a superuser, for the collations in use in every database that takes
// connections, one session after another. Where a database cannot be looked at, the error says so, and the
// rest is there.
func Collations(ctx context.Context, t Target) ([]Collation, error) {
	all, err := defaultCollations(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("cannot look at the collations: %w", err)
	}
	var found []Collation
	var failed []error
	for n, d := range all {
		if d.versioned() {
			found = append(found, d)
		}
		if n >= maxCollationDatabases || len(found) >= maxCollations {
			failed = append(failed, fmt.Errorf("cannot look at the collations of all databases: there are %d, %d have been looked at", len(all), n))
			break
		}
		used, err := readCollations(ctx, t, d.Database, usedCollations)
		if err != nil {
			failed = append(failed, fmt.Errorf("cannot look at the collations in database %s: %w", shown(d.Database), err))
		}
		for _, c := range used {
			if c.versioned() {
				found = append(found, c)
			}
		}
	}
	return found[:min(len(found), maxCollations)], errors.Join(failed...)
}

func defaultCollations(ctx context.Context, t Target) ([]Collation, error) {
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var version int
	if err := conn.session.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, err
	}
	actual := actualVersion
	if version < 150000 {
		actual = actualVersion14
	}
	return conn.collations(ctx, fmt.Sprintf(databaseCollations, defaultCollation, actual))
}

func readCollations(ctx context.Context, t Target, database, question string) ([]Collation, error) {
	t.Database = database
	conn, err := Connect(ctx, t)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return conn.collations(ctx, question)
}

func (c *Conn) collations(ctx context.Context, question string) ([]Collation, error) {
	rows, err := c.session.Query(ctx, question)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Collation, error) {
		var one Collation
		var oid int64
		err := row.Scan(&one.Database, &oid, &one.Name, &one.Provider, &one.Locale, &one.Actual, &one.Recorded)
		one.OID, one.Stored = uint32(oid), one.Recorded != ""
		// Whoever makes a collation chooses its locale and its recorded version.
		one.Locale, one.Recorded = shown(one.Locale), shown(one.Recorded)
		if name := map[string]string{"c": "libc", "i": "icu"}[one.Provider]; name != "" {
			one.Provider = name
		}
		return one, err
	})
}

// versioned says whether a version counts: PostgreSQL and the C library compare the bytes of text in C, POSIX
// and C.UTF-8 (get_collation_actual_version in pg_locale.c). The provider builtin (17) has its own rules.
func (c Collation) versioned() bool {
	locale := strings.ToLower(c.Locale)
	return c.Provider == "icu" || c.Provider == "libc" && locale != "c" && locale != "posix" && !strings.HasPrefix(locale, "c.")
}

// collationObjects finds what is in the order of a collation: indexes, partition keys and constraints.
const collationObjects = `WITH o AS (
	SELECT 'pg_class'::regclass::oid AS class, indexrelid AS id FROM pg_index WHERE $1::bigint::oid = ANY (indcollation::oid[]) AND indexrelid >= 16384
	UNION SELECT 'pg_class'::regclass::oid, partrelid FROM pg_partitioned_table WHERE $1::bigint::oid = ANY (partcollation::oid[])
	UNION SELECT d.classid, d.objid FROM pg_depend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		WHERE d.refclassid = 'pg_collation'::regclass AND d.refobjid = $1::bigint::oid
		AND (d.classid = 'pg_constraint'::regclass OR c.relkind IN ('i', 'I')))
	SELECT (pg_identify_object(class, id, 0)).identity, count(*) OVER () FROM o ORDER BY id LIMIT $2`

// CollationObjects names the first objects of a database whose order depends on a collation, in a form that can
// be shown, and counts the others.
func CollationObjects(ctx context.Context, t Target, c Collation) (names []string, more int, err error) {
	t.Database = c.Database
	conn, err := Connect(ctx, t)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot name what uses a collation: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.session.Query(ctx, collationObjects, int64(c.OID), maxCollationObjects)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot name what uses a collation: %w", err)
	}
	var name *string // NULL for what has just been dropped
	_, err = pgx.ForEachRow(rows, []any{&name, &more}, func() error {
		if name != nil {
			names = append(names, shown(*name))
		}
		return nil
	})
	return names, max(0, more-maxCollationObjects), err
}

// maxShown is how many characters of a name that a user of the database chose are shown.
const maxShown = 100

// shown is a name that a user of the database chose, in a form that can be shown on a terminal.
func shown(name string) string {
	clean := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name))
	if len(clean) > maxShown {
		return string(clean[:maxShown]) + "..."
	}
	return string(clean)
}

// Where names the collation and its database in a form that can be shown.
func (c Collation) Where() string {
	name := "its default collation"
	if c.Name != "" {
		name = "collation " + shown(c.Name)
	}
	return fmt.Sprintf("database %s: %s (%s %s)", shown(c.Database), name, c.Provider, c.Locale)
}

// Remedy is the SQL that brings the objects in order and makes PostgreSQL note the new version. Before 15
// PostgreSQL keeps none for the default of a database, and nothing is to be refreshed.
func (c Collation) Remedy() string {
	database := shown(pgx.Identifier{c.Database}.Sanitize())
	remedy := "REINDEX DATABASE " + database
	switch {
	case c.Name != "" && c.Stored:
		return remedy + ", then ALTER COLLATION " + shown(c.Name) + " REFRESH VERSION in it"
	case c.Stored:
		return remedy + ", then ALTER DATABASE " + database + " REFRESH COLLATION VERSION"
	}
	return remedy
}
