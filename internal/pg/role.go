package pg

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// EnsureReplicationRole makes a role that can replicate and be the source of a pg_rewind. A role that does
// not exist is created, and one without a password gets this one; the password of any other stays as it is
// (RoleProblems names a difference). Rights that it lacks are granted in the session's database. Where nothing
// is missing nothing is written. The role and each grant are transactions of their own, so that what the
// server refuses leaves the rest in place.
func (c *Conn) EnsureReplicationRole(ctx context.Context, name string, password Password) error {
	credential := Credential{User: name, Password: password, Managed: true}
	if err := credential.check(); err != nil {
		return fmt.Errorf("cannot prepare the replication role: %w", err)
	}
	err := c.ensureRole(ctx, credential)
	if err == nil {
		err = errors.Join(c.ensureSettings(ctx, name), c.ensureGrants(ctx, name))
	}
	if err != nil {
		return fmt.Errorf("cannot prepare replication role %s on %s: %w", name, c.target, err)
	}
	return nil
}

// ensureRole creates the role or gives it what it lacks, and no more.
func (c *Conn) ensureRole(ctx context.Context, credential Credential) error {
	name := credential.User
	var login, replication, password bool
	err := c.session.QueryRow(ctx, `SELECT rolcanlogin, rolreplication OR rolsuper, rolpassword IS NOT NULL
		FROM pg_authid WHERE rolname = $1`, name).Scan(&login, &replication, &password)
	command := "ALTER"
	if errors.Is(err, pgx.ErrNoRows) {
		command, err = "CREATE", nil
	}
	if err != nil || login && replication && password {
		return err
	}
	// Utility statements take no parameters: the server quotes the names itself.
	if command == "ALTER" && password {
		return c.define(ctx, "SELECT format('ALTER ROLE %I LOGIN REPLICATION', $1::text)", name)
	}
	return c.define(ctx, "SELECT format('"+command+" ROLE %I LOGIN REPLICATION PASSWORD %L', $1::text, $2::text)",
		name, newVerifier(credential.Password))
}

//go:embed rolesettings.sql
var roleSettingsSQL string

// ensureSettings gives the role settings of its own where a library to preload or a login trigger could end its sessions. The
// role is no superuser and cannot set them in the start-up packet. Their values are those of this session (superuserSession).
func (c *Conn) ensureSettings(ctx context.Context, name string) error {
	rows, err := c.session.Query(ctx, roleSettingsSQL, name)
	if err != nil {
		return err
	}
	settings, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Database, Name string }])
	for _, setting := range settings {
		if setting.Database != "" {
			err = errors.Join(err, c.define(ctx, "SELECT format('ALTER ROLE %I IN DATABASE %I RESET %I', $1::text, $2::text, $3::text)",
				name, setting.Database, setting.Name))
			continue
		}
		// FROM CURRENT, because ALTER ROLE stores the literal '' as a list with one empty name.
		err = errors.Join(err, c.define(ctx, "SELECT format('ALTER ROLE %I SET %I FROM CURRENT', $1::text, $2::text)", name, setting.Name))
	}
	return err
}

func (c *Conn) ensureGrants(ctx context.Context, name string) error {
	missing, err := c.missingGrants(ctx, name)
	for _, grant := range missing {
		err = errors.Join(err, c.define(ctx, "SELECT format('GRANT %s TO %I', $1::text, $2::text)", grant, name))
	}
	return err
}

//go:embed grants.sql
var grantsSQL string

// missingGrants are what a peer's questions and pg_rewind need in the session's database and the role may
// not, as GRANT names it.
func (c *Conn) missingGrants(ctx context.Context, name string) ([]string, error) {
	rows, err := c.session.Query(ctx, grantsSQL, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// quietly keeps what a transaction defines out of the server's log, because a verifier does not belong
// there, and out of reach of event triggers, which may refuse all DDL (event_triggers is new in PostgreSQL
// 17; those that are ENABLE ALWAYS fire in any case).
const quietly = `SELECT set_config(s, v, true) FROM (VALUES ('log_statement', 'none'), ('log_min_error_statement', 'panic'),
	('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'), ('log_transaction_sample_rate', '0'),
	('log_parameter_max_length_on_error', '0'), ('debug_print_parse', 'off'), ('debug_print_rewritten', 'off'),
	('debug_print_plan', 'off'), ('session_replication_role', 'replica'), ('event_triggers', 'off')) AS t (s, v)
	WHERE s <> 'event_triggers' OR current_setting('server_version_num')::int >= 170000`

// define executes a statement that the server builds, in a transaction of its own.
func (c *Conn) define(ctx context.Context, format string, args ...any) error {
	return pgx.BeginTxFunc(ctx, c.session, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, quietly); err != nil {
			return err
		}
		return execFormatted(ctx, tx, format, args...)
	})
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

// verifier follows RFC 5802 section 3. libpq would normalise the password first (SASLprep); here it is one
// that this does not change, see checkPassword.
func verifier(password Password, salt []byte, iterations int) string {
	salted, err := pbkdf2.Key(sha256.New, string(password), salt, iterations, sha256.Size)
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
