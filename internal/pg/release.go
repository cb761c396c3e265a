package pg

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// farewell names the session of a standby that is about to stop (look.sql).
const farewell = "pgtwin farewell"

// AwaitRelease waits until commits on the primary t do not wait for the standby
// of this name any more. The session itself is the sign by which the primary's
// supervisor looks at the records at once (Look.Farewells).
func AwaitRelease(ctx context.Context, t Target, name string) error {
	t.ApplicationName = farewell
	if err := awaitRelease(ctx, t, quoteName(name)); err != nil {
		return fmt.Errorf("cannot see that commits stop waiting for %s: %w", name, brief(err))
	}
	return nil
}

func awaitRelease(ctx context.Context, t Target, name string) error {
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		var required string
		if err := conn.session.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&required); err != nil {
			return err
		}
		if !strings.Contains(required, name) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
