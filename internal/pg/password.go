package pg

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxRoleName = 63   // bytes; PostgreSQL cuts off what is longer (NAMEDATALEN)
	maxPassword = 1000 // bytes; pgx reads no lines of a password file above 64 kB, SASLprep was limited to 1024
)

// check refuses a role or a password that libpq, the server and the driver of pgtwin's own sessions would
// not all take for the same. The error does not contain the password.
func (c Credential) check() error {
	switch {
	case c.User == "":
		return errors.New("the name of the role is empty")
	case len(c.User) > maxRoleName:
		return fmt.Errorf("the name of the role has %d bytes, and PostgreSQL's names have %d at most", len(c.User), maxRoleName)
	case !utf8.ValidString(c.User) || strings.ContainsFunc(c.User, unicode.IsControl):
		return errors.New("the name of the role has control characters, or is not valid UTF-8")
	}
	return checkPassword(c.Password)
}

const plainer = ": choose a password of ASCII letters, digits and punctuation"

// checkPassword accepts a password that every normalisation leaves as it is. Before SCRAM (RFC 5802)
// libpq and the server apply SASLprep (pg_saslprep in saslprep.c: NFKC, characters mapped to nothing, other
// spaces mapped to space), pgx the profile OpaqueString (RFC 8265: NFC, other spaces mapped to space), and
// both take the password as it is where the profile prohibits it. So they agree on what neither would
// change, whether or not it is prohibited. pgx also cuts blanks off the end of a line of a password file.
func checkPassword(p Password) error {
	text := string(p)
	switch {
	case text == "":
		return errors.New("the password is empty")
	case len(text) > maxPassword:
		return fmt.Errorf("the password has %d bytes, and pgtwin takes %d at most: choose a shorter one",
			len(text), maxPassword)
	case !utf8.ValidString(text):
		return errors.New("the password is not valid UTF-8" + plainer)
	case strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("the password has control characters, such as a tab" + plainer)
	case strings.HasSuffix(text, " "):
		return errors.New("the password ends in a blank, which PostgreSQL's programs take for a part of it and other clients do not: remove the blank from the line, or choose another password")
	case !norm.NFKC.IsNormalString(text) || strings.ContainsFunc(text, remapped):
		return errors.New("the password has characters that PostgreSQL replaces by others before it compares passwords, and not every client does" + plainer)
	}
	return nil
}

// remapped says whether SASLprep or OpaqueString may replace a character (RFC 3454, tables B.1 and C.1.2),
// or a newer Unicode than that of this program may know a replacement.
func remapped(r rune) bool {
	return r != ' ' && !unicode.IsGraphic(r) || r != ' ' && unicode.Is(unicode.Z, r) || unicode.Is(mappedToNothing, r)
}

// mappedToNothing is table B.1 of RFC 3454.
var mappedToNothing = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x00AD, Hi: 0x00AD, Stride: 1}, {Lo: 0x034F, Hi: 0x034F, Stride: 1}, {Lo: 0x1806, Hi: 0x1806, Stride: 1},
	{Lo: 0x180B, Hi: 0x180D, Stride: 1}, {Lo: 0x200B, Hi: 0x200D, Stride: 1}, {Lo: 0x2060, Hi: 0x2060, Stride: 1},
	{Lo: 0xFE00, Hi: 0xFE0F, Stride: 1}, {Lo: 0xFEFF, Hi: 0xFEFF, Stride: 1},
}}
