package pg

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ConfFiles is the administrator's configuration of a data directory as its files have it:
// postgresql.conf with all that it includes, then postgresql.auto.conf. Whether PostgreSQL knows a
// name or takes its value is not looked at.
type ConfFiles struct {
	Accepted bool                 // the last good copy of postgresql.conf has been read in its place
	Values   map[string]ConfValue // by name in lower case; of several lines the last one counts
	Main     map[string]ConfValue // those of postgresql.conf alone, which ALTER SYSTEM may have replaced
	Problems []ConfProblem        // for each of them PostgreSQL refuses the whole configuration
}

// ConfValue is a setting of the administrator's.
type ConfValue struct {
	Text string // without the quotes and escapes
	File string
	Line int // from 1
}

// ConfProblem is what PostgreSQL refuses in a file. Why quotes nothing of the file's content but a name.
type ConfProblem struct {
	File string
	Line int // from 1; 0: the file as a whole
	Why  string
}

// String is the problem in one phrase.
func (p ConfProblem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Why)
	}
	return fmt.Sprintf("%s, line %d: %s", p.File, p.Line, p.Why)
}

const (
	autoConf = "postgresql.auto.conf" // PG_AUTOCONF_FILENAME of guc.h

	confErrors = 100 // after as many in one file PostgreSQL gives up (ParseConfigFp)
)

// ReadConfFiles reads the configuration files of a data directory as PostgreSQL does when it is
// started with pgtwin's postgresql.conf, which includes the administrator's.
func ReadConfFiles(pgdata string) ConfFiles {
	return ReadConfCopies("", pgdata)
}

// ReadConfCopies is ReadConfFiles with the last good copies of dir in the place of the files of these kinds.
func ReadConfCopies(dir, pgdata string, kinds ...Kind) ConfFiles {
	file := func(kind Kind) string {
		if slices.Contains(kinds, kind) {
			return AcceptedFile(dir, kind)
		}
		return filepath.Join(pgdata, string(kind))
	}
	r := confReader{pgdata: pgdata, found: ConfFiles{Values: map[string]ConfValue{}, Accepted: slices.Contains(kinds, Conf)}}
	r.read(confPlace{depth: 1}, file(Conf), false)
	r.found.Main = maps.Clone(r.found.Values)
	r.read(confPlace{}, file(Auto), false)
	return r.found
}

// Of is the administrator's value of a setting, "" where no file has one.
func (f ConfFiles) Of(name string) string { return f.Values[name].Text }

type confReader struct {
	pgdata string
	files  int
	found  ConfFiles
}

// confPlace is where a file is included; the zero value is for one that no other names.
type confPlace struct {
	file  string
	line  int
	depth int
}

func (r *confReader) problem(file string, line int, format string, a ...any) {
	r.found.Problems = append(r.found.Problems, ConfProblem{file, line, fmt.Sprintf(format, a...)})
}

// read is ParseConfigFile of PostgreSQL: a file that has to be there, or one that need not.
func (r *confReader) read(from confPlace, name string, required bool) {
	path, ok := r.resolve(from, name)
	switch {
	case !ok:
		return
	case from.depth > confDepth:
		r.problem(from.file, from.line, "files are included more than %d deep", confDepth)
		return
	case path == from.file:
		r.problem(from.file, from.line, "the file includes itself")
		return
	}
	if r.files++; r.files > confFiles {
		if r.files == confFiles+1 {
			r.problem(from.file, from.line, "more than %d files are included", confFiles)
		}
		return
	}
	content, err := readConfFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return
	}
	if err != nil {
		r.problem(cmp.Or(from.file, path), from.line, "cannot read %s: %v", path, err)
		return
	}
	r.parse(confPlace{file: path, depth: from.depth}, content)
}

// resolve makes a name that a file includes a path.
func (r *confReader) resolve(from confPlace, name string) (path string, ok bool) {
	if strings.Trim(name, " \t\r\n") == "" {
		r.problem(from.file, from.line, "the name of the file to include is empty")
		return "", false
	}
	return beside(from.file, name), true
}

// readConfFile reads a regular file of bounded size. A link is followed, because administrators link
// to /etc; nothing blocks, as a named pipe would.
func readConfFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, bare(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	content, err := io.ReadAll(io.LimitReader(f, ConfSize+1))
	if len(content) > ConfSize {
		return nil, fmt.Errorf("it is larger than %d bytes", ConfSize)
	}
	return content, bare(err)
}

// bare is an error of the file system without operation and path.
func bare(err error) error {
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// parse is ParseConfigFp of PostgreSQL.
func (r *confReader) parse(in confPlace, content []byte) {
	s := scanConf(content)
	for errs := 0; ; {
		in.line = s.line
		first := s.next()
		if first.kind == confEnd {
			return
		}
		if first.kind == confEOL {
			continue
		}
		value, last, ok := s.setting(first)
		if !ok {
			if errs++; r.syntax(in, errs, last) {
				return
			}
			last = s.skipLine(last)
		} else {
			r.take(in, strings.ToLower(confBytes(first.text)), value)
		}
		if last.kind == confEnd {
			return
		}
	}
}

// syntax notes a syntax error; giveUp after too many of them.
func (r *confReader) syntax(in confPlace, errs int, at confToken) (giveUp bool) {
	if errs > confErrors {
		return true
	}
	where := ""
	if at.kind == confEOL || at.kind == confEnd {
		where = " near the end of the line"
	}
	r.problem(in.file, in.line, "syntax error%s (a value with other characters than letters, digits and _ wants single quotes)", where)
	return false
}

// setting reads the rest of a line that begins with a name, and the token that ended it or that is
// wrong there.
func (s *confScanner) setting(first confToken) (value string, last confToken, ok bool) {
	if first.kind != confID && first.kind != confQualified {
		return "", first, false
	}
	token := s.next()
	if token.kind == confEquals { // optional
		token = s.next()
	}
	switch token.kind {
	case confString:
		value = unquoteConf(confBytes(token.text))
	case confID, confBare, confNumber:
		value = confBytes(token.text)
	default:
		return "", token, false
	}
	last = s.next()
	return value, last, last.kind == confEOL || last.kind == confEnd
}

func (s *confScanner) skipLine(token confToken) confToken {
	for token.kind != confEOL && token.kind != confEnd {
		token = s.next()
	}
	return token
}

// take obeys a line.
func (r *confReader) take(in confPlace, name, value string) {
	deeper := in
	deeper.depth++
	switch name {
	case "include":
		r.read(deeper, value, true)
	case "include_if_exists":
		r.read(deeper, value, false)
	case "include_dir":
		r.readDir(deeper, value)
	default:
		r.found.Values[name] = ConfValue{value, in.file, in.line}
	}
}

// readDir reads the files of a directory in the order of their names.
func (r *confReader) readDir(from confPlace, name string) {
	dir, ok := r.resolve(from, name)
	if !ok {
		return
	}
	entries, err := os.ReadDir(dir) // sorted by bytes, as strcmp does
	if err != nil {
		r.problem(from.file, from.line, "cannot read the directory %s: %v", dir, bare(err))
		return
	}
	for _, entry := range entries {
		name := entry.Name()
		if !isIncluded(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.IsDir() {
			continue
		}
		r.read(from, filepath.Join(dir, name), true)
	}
}
