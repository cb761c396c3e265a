package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// serverFiles are the files of the session's server, with its rights, by paths relative to its data
// directory. The role needs the grants that pg_rewind needs.
type serverFiles struct {
	ctx  context.Context
	conn *Conn
}

func (s serverFiles) Read(path string) ([]byte, error) {
	var text []byte
	err := s.conn.session.QueryRow(s.ctx, "SELECT pg_read_binary_file($1, 0, $2, true)", path, ConfSize).Scan(&text)
	if err == nil && text == nil {
		return nil, fs.ErrNotExist
	}
	return text, err
}

func (s serverFiles) List(dir string) ([]string, error) {
	rows, err := s.conn.session.Query(s.ctx, "SELECT n FROM pg_ls_dir($1, true, false) AS n ORDER BY n COLLATE \"C\"", dir)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && names == nil {
		return nil, s.exists(dir)
	}
	return names, err
}

func (s serverFiles) exists(path string) error {
	var there bool
	err := s.conn.session.QueryRow(s.ctx, "SELECT (pg_stat_file($1, true)).size IS NOT NULL", path).Scan(&there)
	if err == nil && !there {
		return fs.ErrNotExist
	}
	return err
}

// mayLook says whether the role may call the functions that read files (grants.sql). It tries them, because
// has_function_privilege() is a function, too, and may have been revoked.
func (s serverFiles) mayLook() (bool, error) {
	_, err := s.List(".")
	if err == nil {
		err = s.exists(versionFile)
	}
	if err == nil {
		_, err = s.Read(versionFile)
	}
	if hasCode(err, refused) {
		return false, nil
	}
	return err == nil, err
}

// SourceFiles is what a copy of a server has to reckon with.
type SourceFiles struct {
	Known         bool          // false: the role may not look, and the rest is empty
	Unreadable    []string      // what the server cannot read in its data directory, by which a copy fails; relative paths
	Configuration Configuration // by paths relative to the data directory, or absolute
	Texts         map[string][]byte
	TLS           []string // files for TLS with which the server runs, as the settings name them; "" for none
}

// AskFiles looks at the files of a server that is to be copied.
func AskFiles(ctx context.Context, t Target, major int) (SourceFiles, error) {
	found, err := askFiles(ctx, t, major)
	if err != nil {
		return found, fmt.Errorf("cannot ask the primary for its configuration files: %w", err)
	}
	return found, nil
}

func askFiles(ctx context.Context, t Target, major int) (found SourceFiles, err error) {
	conn, err := ConnectServer(ctx, t)
	if elsewhere(err) {
		return found, nil // no session is to be had although it serves: the files are not known
	}
	if err != nil {
		return found, err
	}
	defer conn.Close(ctx)
	if found.TLS, err = conn.tlsPaths(ctx); err != nil {
		return found, err
	}
	files := serverFiles{ctx, conn}
	if found.Known, err = files.mayLook(); err != nil || !found.Known {
		return found, err
	}
	if found.Unreadable, err = files.unreadable(".", 0); err != nil {
		return found, err
	}
	found.Texts = map[string][]byte{}
	found.Configuration = FollowConfiguration(remembering{files, found.Texts}, "", major)
	return found, ctx.Err()
}

type remembering struct {
	Files
	texts map[string][]byte
}

func (r remembering) Read(path string) ([]byte, error) {
	text, err := r.Files.Read(path)
	if err == nil {
		r.texts[path] = text
	}
	return text, err
}

// notCopied says whether neither pg_basebackup nor pg_rewind reads a file or directory at the top of a data
// directory: PostgreSQL's own are readable, or are left out (excludeFiles of basebackup.c).
func notCopied(name string) bool {
	own := []string{"postmaster.pid", "postmaster.opts", "current_logfiles", "postgresql.auto.conf.tmp", "backup_label", "tablespace_map",
		"backup_manifest", "base", "global", "pgtwin", versionFile}
	return slices.Contains(own, name) || strings.HasPrefix(name, "pgsql_tmp") || strings.HasPrefix(name, ".s.PGSQL")
}

var serverDirs = [...]string{"pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot", "pg_serial",
	"pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact"}

const (
	unreadableDepth  = 4
	unreadableFiles  = 2000 // looked at in one directory
	refused          = "42501"
	noSuchFile       = "58P01"
	enoughUnreadable = 10
)

// unreadable lists the administrator's files and directories that the server cannot read.
func (s serverFiles) unreadable(dir string, depth int) (all []string, err error) {
	names, err := s.List(dir)
	if hasCode(err, refused) {
		return []string{dir}, nil
	}
	if errors.Is(err, fs.ErrNotExist) || hasCode(err, noSuchFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names[:min(len(names), unreadableFiles)] {
		if depth == 0 && (notCopied(name) || slices.Contains(serverDirs[:], name)) {
			continue
		}
		found, err := s.unreadableEntry(path.Join(dir, name), depth)
		if err != nil {
			return nil, err
		}
		if all = append(all, found...); len(all) >= enoughUnreadable {
			break
		}
	}
	return all, nil
}

func (s serverFiles) unreadableEntry(name string, depth int) ([]string, error) {
	var isDir *bool
	var first []byte
	err := s.conn.session.QueryRow(s.ctx, "SELECT (pg_stat_file($1, true)).isdir", name).Scan(&isDir)
	switch {
	case err == nil && isDir == nil:
		return nil, nil // it has gone, or is a link to nothing, which is not copied
	case err == nil && *isDir && depth < unreadableDepth:
		return s.unreadable(name, depth+1)
	case err == nil && !*isDir:
		err = s.conn.session.QueryRow(s.ctx, "SELECT pg_read_binary_file($1, 0, 1, true)", name).Scan(&first)
	}
	if hasCode(err, refused) {
		return []string{name}, nil
	}
	if s.conn.Closed() {
		return nil, err
	}
	return nil, nil // a socket, for example, which a copy leaves out
}
