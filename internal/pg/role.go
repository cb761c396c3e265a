package pg

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

// rewindFunctions are what pg_rewind calls on its source (manual, pg_rewind, "Notes").
var rewindFunctions = []string{
	"pg_ls_dir(text, boolean, boolean)",
	"pg_stat_file(text, boolean)",
	"pg_read_binary_file(text)",
	"pg_read_binary_file(text, bigint, bigint, boolean)",
}

// EnsureReplicationRole makes a role that can replicate and be the source of a pg_rewind, with this
// password. The grants are those of the session's database, which for pg_rewind is postgres. What is so
// already is not written again.
func (c *Conn) EnsureReplicationRole(ctx context.Context, name string, password Password) error {
	if password == "" {
		return fmt.Errorf("cannot prepare replication role %s: its password is empty", name)
	}
	err := pgx.BeginFunc(ctx, c.session, func(tx pgx.Tx) error {
		// The verifier is no password, but it does not belong into the server's log either.
		_, err := tx.Exec(ctx, `SELECT set_config(s, v, true) FROM (VALUES ('log_statement', 'none'),
			('log_min_error_statement', 'panic'), ('log_min_duration_statement', '-1')) AS t (s, v)`)
		if err != nil {
			return err
		}
		if err := ensureRole(ctx, tx, name, password); err != nil {
			return err
		}
		return ensureGrants(ctx, tx, name)
	})
	if err != nil {
		return fmt.Errorf("cannot prepare replication role %s on %s: %w", name, c.target, err)
	}
	return nil
}

func ensureRole(ctx context.Context, tx pgx.Tx, name string, password Password) error {
	var able bool
	var stored string
	command := "ALTER"
	err := tx.QueryRow(ctx, `SELECT rolcanlogin AND rolreplication, coalesce(rolpassword, '')
		FROM pg_authid WHERE rolname = $1`, name).Scan(&able, &stored)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		command = "CREATE"
	case err != nil:
		return err
	case able && verifies(stored, password):
		return nil
	}
	// Utility statements take no parameters: the server quotes the names itself.
	return execFormatted(ctx, tx, "SELECT format('"+command+" ROLE %I LOGIN REPLICATION PASSWORD %L', $1::text, $2::text)",
		name, newVerifier(password))
}

func ensureGrants(ctx context.Context, tx pgx.Tx, name string) error {
	for _, function := range rewindFunctions {
		var granted bool
		err := tx.QueryRow(ctx, "SELECT has_function_privilege($1, $2, 'EXECUTE')", name, function).Scan(&granted)
		if err != nil {
			return err
		}
		if granted {
			continue
		}
		err = execFormatted(ctx, tx, "SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', $1::regprocedure, $2::text)", function, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// execFormatted lets the server build a statement and then executes it.
func execFormatted(ctx context.Context, tx pgx.Tx, format string, args ...any) error {
	var statement string
	if err := tx.QueryRow(ctx, format, args...).Scan(&statement); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
	return err
}

// scramIterations is PostgreSQL's default (scram_iterations).
const scramIterations = 4096

// newVerifier is what PostgreSQL stores of a password (manual, pg_authid: SCRAM-SHA-256). Computing it
// here keeps the password itself from the server and its log.
func newVerifier(password Password) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails (crypto/rand)
	return verifier(password, salt, scramIterations)
}

// verifier follows RFC 5802 section 3. libpq normalises passwords with SASLprep, of which NFKC is what
// matters to passwords that people use.
func verifier(password Password, salt []byte, iterations int) string {
	salted, err := pbkdf2.Key(sha256.New, norm.NFKC.String(string(password)), salt, iterations, sha256.Size)
	if err != nil {
		panic(err) // only for parameters that FIPS mode forbids, and these are constant
	}
	clientKey := keyed(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(storedKey[:]), b64(keyed(salted, "Server Key")))
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// verifies says whether a stored verifier is of this password.
func verifies(stored string, password Password) bool {
	rest, isScram := strings.CutPrefix(stored, "SCRAM-SHA-256$")
	parameters, _, _ := strings.Cut(rest, "$")
	count, encoded, _ := strings.Cut(parameters, ":")
	iterations, errCount := strconv.Atoi(count)
	salt, errSalt := base64.StdEncoding.DecodeString(encoded)
	if !isScram || errCount != nil || errSalt != nil || iterations < 1 {
		return false
	}
	return hmac.Equal([]byte(stored), []byte(verifier(password, salt, iterations)))
}
