package pg

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Extent is what a copy of a server's database takes on disk.
type Extent struct {
	Main        int64 // bytes of the data directory, without the WAL and the tablespaces outside
	WAL         int64 // bytes of WAL that a standby of it comes to keep
	Tablespaces []Tablespace
}

// Tablespace is one that is outside of the data directory.
type Tablespace struct {
	OID      uint32
	Location string
	Size     int64 // bytes
}

// extentTimeout is for the walk through a large database on a slow disk.
const extentTimeout = 5 * time.Minute

// AskExtent asks a server how large its database is. It needs no more rights than pg_rewind, which
// looks for the files in the same way: pg_database_size and pg_tablespace_size would want those of a
// monitor, and a base backup, which tells the size of each tablespace, a checkpoint.
func AskExtent(ctx context.Context, t Target) (Extent, error) {
	t.Database = "postgres" // where EnsureReplicationRole makes its grants, or in template1 where it is missing
	t.StatementTimeout = extentTimeout
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return Extent{}, err
	}
	defer conn.Close(ctx)
	e, err := conn.extent(ctx)
	if err != nil {
		return Extent{}, fmt.Errorf("cannot tell how large the database of %s is: %w", t, brief(err))
	}
	return e, nil
}

func (c *Conn) extent(ctx context.Context) (e Extent, err error) {
	// One within the data directory (allow_in_place_tablespaces) has no absolute path.
	rows, _ := c.session.Query(ctx, `SELECT oid, pg_tablespace_location(oid), 0::bigint FROM pg_tablespace ORDER BY oid`)
	if e.Tablespaces, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Tablespace]); err != nil {
		return e, err
	}
	e.Tablespaces = slices.DeleteFunc(e.Tablespaces, func(t Tablespace) bool { return !filepath.IsAbs(t.Location) })
	// What a file takes on disk is whole blocks. Temporary files are not copied, and of the WAL only
	// what is written meanwhile; a standby comes to keep as much as its own settings, the same, allow.
	rows, _ = c.session.Query(ctx, `WITH RECURSIVE files (path, name, size, isdir) AS (
			SELECT '', entry, this.size, this.isdir
			FROM pg_ls_dir('.', true, false) AS entry, pg_stat_file(entry, true) AS this
			UNION ALL
			SELECT parent.path || parent.name || '/', entry, this.size, this.isdir
			FROM files AS parent, pg_ls_dir(parent.path || parent.name, true, false) AS entry,
				pg_stat_file(parent.path || parent.name || '/' || entry, true) AS this
			WHERE parent.isdir AND parent.name NOT LIKE 'pgsql\_tmp%'),
		areas AS (
			SELECT split_part(path, '/', 1) = 'pg_wal' AS wal,
				CASE WHEN path LIKE 'pg\_tblspc/_%' THEN split_part(path, '/', 2) ELSE '' END AS space,
				sum((size + 4095) / 4096 * 4096)::bigint AS size
			FROM files WHERE NOT isdir GROUP BY 1, 2)
		SELECT wal, space, CASE WHEN wal THEN
			least(size, pg_size_bytes(current_setting('max_wal_size')) + pg_size_bytes(current_setting('wal_keep_size')))
			ELSE size END FROM areas`)
	var wal bool
	var space string
	var size int64
	_, err = pgx.ForEachRow(rows, []any{&wal, &space, &size}, func() error {
		at := slices.IndexFunc(e.Tablespaces, func(t Tablespace) bool { return strconv.FormatUint(uint64(t.OID), 10) == space })
		switch {
		case wal:
			e.WAL = size
		case at >= 0:
			e.Tablespaces[at].Size = size
		default:
			e.Main += size
		}
		return nil
	})
	return e, err
}
