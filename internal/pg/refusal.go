package pg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// RefusedAddress is the address of this host in a server's answer that pg_hba.conf has no rule for it
// (ClientAuthentication in auth.c). It is looked for by its form: the words may be translated.
func RefusedAddress(err error) (string, bool) {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || answer.Code != "28000" || !strings.Contains(answer.Message, "pg_hba.conf") { // invalid_authorization_specification
		return "", false
	}
	for word := range strings.FieldsFuncSeq(answer.Message, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF.:", r) }) {
		if ip, err := netip.ParseAddr(strings.TrimRight(word, ".")); err == nil {
			return ip.String(), true
		}
	}
	return "", false
}

// HasTLS says whether the server offers TLS.
func (c *Conn) HasTLS(ctx context.Context) (has bool, err error) {
	if err := c.session.QueryRow(ctx, "SELECT current_setting('ssl')::bool").Scan(&has); err != nil {
		return false, fmt.Errorf("cannot ask %s whether it has TLS: %w", c.target, err)
	}
	return has, nil
}
