package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Synchronous is a value of synchronous_standby_names: a commit waits for Count of
// the names, for the first ones that are connected or, with Any, for any. The zero
// value waits for nobody.
type Synchronous struct {
	Any   bool
	Count int
	Names []string // "*" is every standby
}

// All is the setting by which a commit waits for all of these standbys but for as
// many as are spared.
func All(names []string, spared int) Synchronous {
	return Synchronous{Any: spared > 0, Count: len(names) - spared, Names: names}
}

// synchronous is the value that the settings ask for.
func (s Settings) synchronous() Synchronous {
	value := All(s.Synchronous, s.Spared)
	value.Any = value.Any && !s.First
	return value
}

// Spared is how many of the names a commit does not wait for.
func (s Synchronous) Spared() int { return max(0, len(s.Names)-s.Count) }

// Covers says whether a standby of this name counts.
func (s Synchronous) Covers(name string) bool { return s.rank(name) < len(s.Names) }

// rank is where a name is in the list. PostgreSQL compares without regard to case.
func (s Synchronous) rank(name string) int {
	at := slices.IndexFunc(s.Names, func(n string) bool { return n == "*" || strings.EqualFold(n, name) })
	if at < 0 {
		return len(s.Names)
	}
	return at
}

// Sort puts names into the order of the list.
func (s Synchronous) Sort(names []string) {
	slices.SortStableFunc(names, func(a, b string) int { return s.rank(a) - s.rank(b) })
}

// String is the setting as pgtwin writes it, by exact names.
func (s Synchronous) String() string {
	quoted := make([]string, len(s.Names))
	for i, name := range s.Names {
		quoted[i] = quoteName(name)
	}
	method := "FIRST"
	if s.Any {
		method = "ANY"
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return fmt.Sprintf("%s %d (%s)", method, s.Count, strings.Join(quoted, ", "))
}

// ParseSynchronous reads a value as PostgreSQL does (syncrep_gram.y): names alone
// wait for the first of them that is connected.
func ParseSynchronous(text string) (Synchronous, error) {
	words, err := scanSynchronous(text)
	if err != nil || len(words) == 0 {
		return Synchronous{}, err
	}
	s := Synchronous{Count: 1}
	if opens := slices.Index(words, word{mark, "("}); opens >= 0 {
		if words[len(words)-1] != (word{mark, ")"}) {
			return Synchronous{}, fmt.Errorf("cannot read %q: the list does not end in )", text)
		}
		if s.Any, s.Count, err = parseMethod(words[:opens]); err != nil {
			return Synchronous{}, fmt.Errorf("cannot read %q: %w", text, err)
		}
		words = words[opens+1 : len(words)-1]
	}
	for i, w := range words {
		if isName := w.kind != mark && w.kind != keyword; isName != (i%2 == 0) || !isName && w.text != "," {
			return Synchronous{}, fmt.Errorf("cannot read %q: expected names separated by commas, found %s", text, w.text)
		}
		if i%2 == 0 {
			s.Names = append(s.Names, w.text)
		}
	}
	if len(words)%2 == 0 {
		return Synchronous{}, fmt.Errorf("cannot read %q: a name is missing", text)
	}
	return s, nil
}

// parseMethod reads what comes before the list.
func parseMethod(words []word) (anyOf bool, count int, err error) {
	if len(words) == 2 && words[0].kind == keyword {
		anyOf = strings.EqualFold(words[0].text, "ANY")
		words = words[1:]
	}
	if len(words) == 1 && words[0].kind == number {
		count, err = strconv.Atoi(words[0].text)
	}
	if err != nil || count < 1 {
		return false, 0, errors.New("before the list of names comes FIRST or ANY and a number from 1")
	}
	return anyOf, count, nil
}

// word is one of a setting's.
type word struct {
	kind kind
	text string
}

type kind string

const (
	keyword kind = "keyword" // ANY or FIRST
	name    kind = "name"
	number  kind = "number" // which is a name, too
	mark    kind = "mark"   // one of ( ) and the comma
)

// scanSynchronous follows syncrep_scanner.l.
func scanSynchronous(text string) (words []word, err error) {
	plain := regexp.MustCompile(`^([A-Za-z_\x{80}-\x{10FFFF}][A-Za-z0-9_$\x{80}-\x{10FFFF}]*|[0-9]+|[(),*])`)
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] == '"' {
			quoted, rest, err := scanQuoted(text)
			if err != nil {
				return nil, err
			}
			words, text = append(words, word{name, quoted}), rest
			continue
		}
		found := plain.FindString(text)
		if found == "" {
			return nil, fmt.Errorf("cannot read %q: such a name needs double quotes", text)
		}
		words, text = append(words, word{kindOf(found), found}), text[len(found):]
	}
	return words, nil
}

func kindOf(text string) kind {
	switch {
	case strings.Contains("(),", text):
		return mark
	case '0' <= text[0] && text[0] <= '9':
		return number
	case strings.EqualFold(text, "ANY"), strings.EqualFold(text, "FIRST"):
		return keyword
	}
	return name
}

// scanQuoted reads a name in double quotes, in which two stand for one.
func scanQuoted(text string) (quoted, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '"':
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i:], `""`):
			b.WriteByte('"')
			i++
		default:
			return b.String(), text[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("cannot read %q: a quote is not closed", text)
}

// FileSynchronous is what postgresql.conf in a data directory sets
// synchronous_standby_names to, without the files that it includes, for when no
// server can be asked; "" where it does not.
func FileSynchronous(dataDir string) (text string, err error) {
	file, err := os.ReadFile(filepath.Join(dataDir, "postgresql.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// guc-file.l: the equals sign is optional, and so are the quotes of a bare word.
	assignment := regexp.MustCompile(`(?i)^\s*synchronous_standby_names(?:\s*=\s*|\s+)(?:'((?:[^']|'')*)'|([^\s#']+))`)
	for line := range strings.Lines(string(file)) {
		if m := assignment.FindStringSubmatch(line); m != nil {
			text = strings.ReplaceAll(m[1], "''", "'") + m[2]
		}
	}
	return text, nil
}

// AdministratorsSynchronous is the synchronous_standby_names of the administrator's
// own configuration files, as they are now, over which ours wins; "" where they have
// none.
func (c *Conn) AdministratorsSynchronous(ctx context.Context) (string, error) {
	const question = `SELECT coalesce(setting, '') FROM pg_file_settings
		WHERE name = 'synchronous_standby_names'
		AND sourcefile <> regexp_replace(current_setting('config_file'), '[^/]*$', 'managed.conf')
		AND sourcefile <> current_setting('data_directory') || '/postgresql.auto.conf'
		ORDER BY seqno DESC LIMIT 1`
	var text string
	err := c.session.QueryRow(ctx, question).Scan(&text)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("cannot ask %s for the administrator's synchronous_standby_names: %w", c.target, brief(err))
	}
	return text, nil
}
