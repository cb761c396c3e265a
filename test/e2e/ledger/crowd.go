package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Crowd is a number of idle sessions.
type Crowd struct {
	sessions []*pgx.Conn
}

// crowdLimit is more than any server under test lets in.
const crowdLimit = 1000

// Gather opens sessions until the server has no place for another.
func Gather(ctx context.Context, login Login) (*Crowd, error) {
	var c Crowd
	for len(c.sessions) < crowdLimit {
		session, err := login.connect(ctx, nil)
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "53300" { // too_many_connections
			return &c, nil
		}
		if err != nil {
			c.Leave(ctx)
			return nil, fmt.Errorf("cannot gather a crowd: %w", err)
		}
		c.sessions = append(c.sessions, session)
	}
	c.Leave(ctx)
	return nil, fmt.Errorf("%d sessions are not too many", crowdLimit)
}

// Leave ends the sessions.
func (c *Crowd) Leave(ctx context.Context) {
	for _, session := range c.sessions {
		_ = session.Close(ctx) // most have lost their server by now
	}
	c.sessions = nil
}
