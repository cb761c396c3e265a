package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RelationNames asks a server, as a superuser, for the names of relations as
// DATABASE.SCHEMA.TABLE; of an index or a TOAST table it is that of the table.
// What has no name there is left out.
func RelationNames(ctx context.Context, t Target, relations []Relation) (map[Relation]string, error) {
	databases, err := databaseNames(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("cannot find the names of relations: %w", brief(err))
	}
	in := map[uint32][]Relation{}
	for _, r := range relations {
		in[r.Database] = append(in[r.Database], r)
	}
	names := map[Relation]string{}
	for database, relations := range in {
		if t.Database = databases[database]; t.Database == "" {
			continue
		}
		if err := nameRelations(ctx, t, relations, names); err != nil {
			return names, fmt.Errorf("cannot find the names of relations in database %s: %w", t.Database, brief(err))
		}
	}
	return names, nil
}

func databaseNames(ctx context.Context, t Target) (map[uint32]string, error) {
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.session.Query(ctx, "SELECT oid::bigint, datname::text FROM pg_database WHERE datallowconn")
	if err != nil {
		return nil, err
	}
	names := map[uint32]string{}
	var oid int64
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error { names[uint32(oid)] = name; return nil })
	return names, err
}

func nameRelations(ctx context.Context, t Target, relations []Relation, names map[Relation]string) error {
	conn, err := Connect(ctx, t)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	const question = `SELECT format('%s.%s.%s', current_database(), n.nspname, t.relname)
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class o ON o.reltoastrelid = c.oid
		JOIN pg_class t ON t.oid = coalesce(i.indrelid, o.oid, c.oid) JOIN pg_namespace n ON n.oid = t.relnamespace
		WHERE c.oid = pg_filenode_relation($1::bigint::oid, $2::bigint::oid)`
	for _, r := range relations {
		var name string
		err := conn.session.QueryRow(ctx, question, int64(r.Tablespace), int64(r.Node)).Scan(&name)
		switch {
		case err == nil:
			names[r] = name
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
	}
	return nil
}
