package pg

import (
	"regexp"
	"strings"
)

// confToken is a token of a configuration file, as PostgreSQL's scanner reads it (guc-file.l).
type confToken struct {
	kind confKind
	text string // as it stands in the file
}

type confKind int

const (
	confEnd       confKind = iota // of the file
	confEOL                       // of a line
	confID                        // a name
	confQualified                 // a name with a dot, which is no value
	confString                    // in quotes
	confBare                      // a word without quotes that is no name
	confNumber
	confEquals
	confBad // a character that begins no token
)

// confPatterns are the scanner's rules in its order: the longest match wins, then the first.
func confPatterns() []confPattern {
	const letter, more = `[A-Za-z_\x80-\xff]`, `[A-Za-z_0-9\x80-\xff]`
	rule := func(kind confKind, expression string) confPattern {
		p := confPattern{kind, regexp.MustCompile(`^(?:` + expression + `)`)}
		p.expression.Longest()
		return p
	}
	return []confPattern{
		rule(confID, letter+more+`*`),
		rule(confQualified, letter+more+`*\.`+letter+more+`*`),
		rule(confString, `'(?:[^'\\\n]|\\[^\n]|'')*'`),
		rule(confBare, letter+`(?:`+more+`|[-._:/])*`),
		rule(confNumber, `[-+]?(?:[0-9]+|0x[0-9a-fA-F]+)[a-zA-Z]*`),
		rule(confNumber, `[-+]?[0-9]*\.[0-9]*(?:[Ee][-+]?[0-9]+)?`),
		rule(confEquals, `=`),
		rule(confEOL, `\n`),
	}
}

type confPattern struct {
	kind       confKind
	expression *regexp.Regexp
}

// confScanner reads the tokens of one file. Its text has one rune for each byte of the file, because
// PostgreSQL's scanner knows bytes and a regular expression of Go knows runes.
type confScanner struct {
	rest     string
	line     int
	patterns []confPattern
}

func scanConf(content []byte) *confScanner {
	var b strings.Builder
	for _, c := range content {
		b.WriteRune(rune(c))
	}
	return &confScanner{rest: b.String(), line: 1, patterns: confPatterns()}
}

// next reads a token; blanks and comments are none.
func (s *confScanner) next() confToken {
	s.rest = strings.TrimLeft(s.rest, " \t\r")
	if strings.HasPrefix(s.rest, "#") {
		end := strings.IndexByte(s.rest, '\n')
		if end < 0 {
			end = len(s.rest)
		}
		s.rest = s.rest[end:]
	}
	if s.rest == "" {
		return confToken{kind: confEnd}
	}
	found := s.longest()
	s.rest = s.rest[len(found.text):]
	if found.kind == confEOL {
		s.line++
	}
	return found
}

func (s *confScanner) longest() confToken {
	best := confToken{kind: confBad}
	for _, p := range s.patterns {
		if text := p.expression.FindString(s.rest); len(text) > len(best.text) {
			best = confToken{p.kind, text}
		}
	}
	if best.text == "" {
		for _, r := range s.rest {
			best.text = string(r)
			break
		}
	}
	return best
}

// confBytes turns the scanner's runes back into the bytes of the file.
func confBytes(text string) string {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

// unquoteConf takes a value out of its quotes, as DeescapeQuotedString of guc-file.l does.
func unquoteConf(quoted string) string {
	inner := quoted[1 : len(quoted)-1]
	b := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		switch {
		case inner[i] == '\\' && i+1 < len(inner):
			c, read := unescapeConf(inner[i+1:])
			b, i = append(b, c), i+read
		case inner[i] == '\'':
			b, i = append(b, '\''), i+1 // two stand for one
		default:
			b = append(b, inner[i])
		}
	}
	return string(b)
}

// unescapeConf reads what follows a backslash, and answers how many bytes that are.
func unescapeConf(text string) (c byte, read int) {
	if at := strings.IndexByte("bfnrt", text[0]); at >= 0 {
		return "\b\f\n\r\t"[at], 1
	}
	for read < min(3, len(text)) && text[read] >= '0' && text[read] <= '7' {
		c, read = c<<3+text[read]-'0', read+1
	}
	if read == 0 {
		return text[0], 1
	}
	return c, read
}
