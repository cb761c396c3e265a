package pg

import (
	"strconv"
	"testing"
)

func TestRelationNames(t *testing.T) {
	s := newServer(t, "names", template)
	c := s.start()
	c.must(t, `create schema "My Shop"`)
	c.must(t, `create table "My Shop".orders (id int primary key, note text)`)
	node := func(sql string) Relation {
		n, err := strconv.ParseUint(c.value(t, sql), 10, 32)
		must(t, err)
		database, err := strconv.ParseUint(c.value(t, "select oid::text from pg_database where datname = 'postgres'"), 10, 32)
		must(t, err)
		return Relation{1663, uint32(database), uint32(n)}
	}
	table := node(`select pg_relation_filenode('"My Shop".orders')::text`)
	index := node(`select pg_relation_filenode('"My Shop".orders_pkey')::text`)
	toast := node(`select pg_relation_filenode(reltoastrelid)::text from pg_class where oid = '"My Shop".orders'::regclass`)
	gone, elsewhere := table, table
	gone.Node, elsewhere.Database = 99999, 99999

	names, err := RelationNames(t.Context(), s.local(), []Relation{table, index, toast, gone, elsewhere})
	must(t, err)
	for _, r := range []Relation{table, index, toast} {
		if got, want := names[r], "postgres.My Shop.orders"; got != want {
			t.Errorf("%s is %q, want %q", r, got, want)
		}
	}
	if len(names) != 3 {
		t.Errorf("names %v", names)
	}
}
