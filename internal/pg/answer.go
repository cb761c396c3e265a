package pg

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Answered says whether the server answered, and with which SQLSTATE (manual, appendix A), where err is
// of this package: a refusal at the connection (FATAL) is an answer, too. Not ok are silence, a time-out
// and a connection that could not be made or broke: then nothing shows that the server lives.
func Answered(err error) (sqlstate string, ok bool) {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return "", false
	}
	return answer.Code, true
}

// hasCode says whether PostgreSQL answered with this SQLSTATE.
func hasCode(err error, code string) bool {
	state, ok := Answered(err)
	return ok && state == code
}

// elsewhere says whether another database of the same server may take the session that this one has
// refused: not where the whole server is starting or stopping (57P01 to 57P03), and not where the role
// was refused (class 28), which has nothing to do with the database.
func elsewhere(err error) bool {
	state, ok := Answered(err)
	return ok && !strings.HasPrefix(state, "57") && !strings.HasPrefix(state, "28")
}

// brief is err as one line of bounded length: the driver lists a failed connection's attempts on lines
// of their own, and an extension's or trigger's message is anybody's text.
func brief(err error) error {
	var already briefed
	if errors.As(err, &already) {
		return err
	}
	var answer *pgconn.PgError
	text := err.Error()
	if errors.As(err, &answer) {
		text = answer.Error()
	}
	const longest = 300
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) > longest {
		line = append(line[:longest], []rune(" ...")...)
	}
	return briefed{string(line), err}
}

type briefed struct {
	line  string
	cause error
}

func (b briefed) Error() string { return b.line }
func (b briefed) Unwrap() error { return b.cause }
