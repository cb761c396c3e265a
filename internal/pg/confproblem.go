package pg

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
)

// FileProblem is a place in the administrator's configuration files that PostgreSQL does not take in.
type FileProblem struct {
	File   string // as PostgreSQL names it
	Line   int    // 0: the file as a whole
	Reason string // PostgreSQL's own words, of bounded length
	Blocks bool   // a reload takes in nothing of all files because of it
}

// String names the place and the reason.
func (p FileProblem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Reason)
	}
	return fmt.Sprintf("%s, line %d: %s", p.File, p.Line, p.Reason)
}

// FileSetting is a setting as a configuration file has it.
type FileSetting struct {
	Name, Value string
	Pending     bool // in force only after a restart
}

// FileState is what PostgreSQL says of the files as they are now, read without being taken in
// (manual, "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings").
type FileState struct {
	Settings []FileSetting // of the administrator's files without postgresql.auto.conf, in their order
	Pending  bool          // one of them, or of postgresql.auto.conf, is in force only after a restart
	Conf     []FileProblem // of postgresql.conf and what it includes
	Auto     []FileProblem // of postgresql.auto.conf, which only ALTER SYSTEM and restores write
	HBA      []FileProblem
	Ident    []FileProblem
	// LocalPassword is where a rule of the administrator's lets the superuser log in over the socket by
	// password, which our own rule before it does not; nil without one.
	LocalPassword *FileProblem
}

// fileRows bounds what is read of one file's rows. A file of more has all its errors among the first.
const fileRows = 2000

// ReadFiles lets PostgreSQL read the configuration files that it would read at a reload. Nothing is
// taken in. s says where our own files are, whose lines are left out.
func (c *Conn) ReadFiles(ctx context.Context, s Settings) (FileState, error) {
	var state FileState
	err := c.readSettings(ctx, s, &state)
	if err == nil {
		state.HBA, state.LocalPassword, err = c.readRules(ctx, s)
	}
	if err == nil && s.Major >= identViewVersion {
		state.Ident, err = c.readMappings(ctx, s)
	}
	if err != nil {
		return FileState{}, fmt.Errorf("cannot ask %s for its configuration files: %w", c.target, err)
	}
	return state, nil
}

// identViewVersion is the first major version with pg_ident_file_mappings.
const identViewVersion = 15

// settingRow is a row of pg_file_settings.
type settingRow struct {
	File  string
	Line  int
	Name  string
	Value string
	Error string
}

// notApplied is what ProcessConfigFileInternal (guc.c) says of a value that it cannot use. All other
// errors, of syntax, of names and of files, keep it from taking in anything.
const notApplied = "setting could not be applied"

func (c *Conn) readSettings(ctx context.Context, s Settings, state *FileState) error {
	rows, err := c.session.Query(ctx, `SELECT coalesce(sourcefile, ''), coalesce(sourceline, 0), coalesce(name, ''),
		coalesce(setting, ''), coalesce(error, '') FROM pg_file_settings ORDER BY seqno LIMIT $1`, fileRows)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[settingRow])
	if err != nil {
		return err
	}
	pending, err := c.pending(ctx) // only now: reading the files has marked them in this session
	if err != nil {
		return err
	}
	for _, row := range all {
		auto := row.File == filepath.Join(s.PGData, "postgresql.auto.conf")
		awaits := pending[strings.ToLower(row.Name)]
		if row.File == filepath.Join(s.ConfDir, "postgresql.conf") && row.Error != "" {
			// Of ours it includes the administrator's, which cannot be opened.
			row.File, row.Line = filepath.Join(s.PGData, "postgresql.conf"), 0
		}
		state.Pending = state.Pending || awaits && !s.own(row.File)
		switch {
		case s.own(row.File):
		case row.Error != "" && !(awaits && row.Error == notApplied):
			state.note(auto, row.problem())
		case !auto && row.Name != "":
			state.Settings = append(state.Settings, FileSetting{row.Name, row.Value, awaits})
		}
	}
	return nil
}

func (f *FileState) note(auto bool, p FileProblem) {
	if auto {
		f.Auto = append(f.Auto, p)
	} else {
		f.Conf = append(f.Conf, p)
	}
}

// own says whether a file is one of ours.
func (s Settings) own(file string) bool {
	return s.ConfDir != "" && filepath.Dir(file) == filepath.Clean(s.ConfDir)
}

func (r settingRow) problem() FileProblem {
	reason := r.Error
	if r.Name != "" {
		reason = r.Name + ": " + reason
	}
	if r.Error == notApplied {
		reason += " (PostgreSQL's log says why)"
	}
	return FileProblem{File: clip(r.File, 300), Line: r.Line, Reason: clip(reason, reasonLimit), Blocks: r.Error != notApplied}
}

func (c *Conn) pending(ctx context.Context) (map[string]bool, error) {
	rows, err := c.session.Query(ctx, "SELECT lower(name) FROM pg_settings WHERE pending_restart")
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	pending := map[string]bool{}
	for _, name := range names {
		pending[name] = true
	}
	return pending, err
}

// accessRow is a row of pg_hba_file_rules or pg_ident_file_mappings.
type accessRow struct {
	File   string
	Line   int
	Type   string
	Users  []string
	Method string
	Error  string
}

func (c *Conn) readRules(ctx context.Context, s Settings) (problems []FileProblem, local *FileProblem, err error) {
	rows, err := c.access(ctx, s, "pg_hba_file_rules",
		"coalesce(type, ''), coalesce(user_name, '{}'), coalesce(auth_method, '')")
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		switch {
		case row.Error != "":
			problems = append(problems, FileProblem{File: row.File, Line: row.Line, Reason: accessReason(row.Error), Blocks: true})
		case local == nil && row.locksOut(s.User):
			local = &FileProblem{File: row.File, Line: row.Line, Reason: row.Method}
		}
	}
	return problems, local, nil
}

func (c *Conn) readMappings(ctx context.Context, s Settings) (problems []FileProblem, err error) {
	rows, err := c.access(ctx, s, "pg_ident_file_mappings", "'', '{}'::text[], ''")
	for _, row := range rows {
		if row.Error != "" {
			problems = append(problems, FileProblem{File: row.File, Line: row.Line, Reason: accessReason(row.Error), Blocks: true})
		}
	}
	return problems, err
}

// access reads the administrator's rows of a view. view and columns are constants of this file.
func (c *Conn) access(ctx context.Context, s Settings, view, columns string) ([]accessRow, error) {
	file := "''"
	if s.Major >= includesVersion {
		file = "coalesce(file_name, '')"
	}
	rows, err := c.session.Query(ctx, "SELECT "+file+", coalesce(line_number, 0), "+columns+", coalesce(error, '') FROM "+view+" LIMIT $1", fileRows)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[accessRow])
	if err != nil {
		return nil, err
	}
	name := map[string]string{"pg_hba_file_rules": "pg_hba.conf", "pg_ident_file_mappings": "pg_ident.conf"}[view]
	copied, err := copiedFrom(filepath.Join(s.ConfDir, name))
	if err != nil {
		return nil, err
	}
	var theirs []accessRow
	for _, row := range all {
		if row.File == "" || s.own(row.File) {
			// Ours, or the copy in it, whose lines are counted from its first. Of ours only the directive that
			// includes the administrator's file can fail.
			if copied > 0 && row.Line <= copied || copied == 0 && row.Error == "" {
				continue
			}
			row.File, row.Line = filepath.Join(s.PGData, name), max(0, row.Line-copied)
			if copied == 0 {
				row.Line = 0
			}
		}
		row.File = clip(row.File, 300)
		theirs = append(theirs, row)
	}
	return theirs, nil
}

// locksOut says whether the rule lets the superuser in over the socket by something else than who it
// is to the operating system.
func (r accessRow) locksOut(superuser string) bool {
	if r.Type != "local" {
		return false
	}
	switch r.Method {
	case "peer", "ident", "trust", "reject":
		return false
	}
	for _, name := range r.Users {
		if name == "all" || name == superuser {
			return true
		}
	}
	return false
}

const reasonLimit = 200

// accessReason is PostgreSQL's reason without what it quotes of an option, which may be a password
// (parse_hba_auth_opt in hba.c).
func accessReason(text string) string {
	if before, _, found := strings.Cut(text, "name=value format:"); found {
		return before + "name=value format"
	}
	secret := regexp.MustCompile(`(?i)(passwd|secrets?)([^"]*)"[^"]*"`)
	return clip(secret.ReplaceAllString(text, `${1}${2}"..."`), reasonLimit)
}

// clip makes text of a file or a peer harmless: one line, no control characters, at most limit bytes.
func clip(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}
