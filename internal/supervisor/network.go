package supervisor

import (
	"context"
	"fmt"
	"reflect"

	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// checkNetwork finds out from where the peers come by now, and whether PostgreSQL would be reached after
// its next start.
func (h house) checkNetwork(ctx context.Context, conn *pg.Conn, found *survey) error {
	known, err := instance.ReadReach(h.instance.Name)
	if err != nil {
		return err
	}
	now := instance.FindReach(ctx, h.instance, h.nodes, known)
	if now.TLS, err = conn.HasTLS(ctx); err != nil {
		return err
	}
	if !reflect.DeepEqual(now, known) {
		found.moved = true
		if err := instance.WriteReach(h.instance.Name, now); err != nil {
			return err
		}
	}
	if wrong := instance.NextListen(ctx, h.instance, len(now.Nodes) > 1); wrong != "" {
		found.advice = append(found.advice, wrong)
	}
	return nil
}

// follow lets PostgreSQL in the peers at the addresses that they have now.
func (s *Supervisor) follow(ctx context.Context, moved bool) error {
	s.moved = s.moved || moved
	if !s.moved || s.conn == nil {
		return nil
	}
	_, err := s.writeAccess()
	if err == nil { // tryFile may have written them, too, and has them read by nobody
		s.Log.Info("the access rules name the addresses that the peers have now")
		err = s.conn.Reload(ctx)
	}
	s.moved = err != nil
	return err
}

// tellLocalRule says once that scripts which log in as the superuser by password over the socket are
// refused. Of several rules that match, PostgreSQL obeys the first; ours lets root and the server's own
// user in, and no rule can leave all others to the next one.
func (s *Supervisor) tellLocalRule(rule *pg.FileProblem) {
	if rule == nil || s.localRule == rule.String() {
		return
	}
	s.localRule = rule.String()
	s.Log.Warn(fmt.Sprintf("%s, line %d: the method %s does not apply to %s over the Unix socket, where pgtwin's own rule lets in root and the server's user without a password and nobody else: let scripts log in as another role, or by TCP",
		rule.File, rule.Line, rule.Reason, s.Instance.User))
}

// explainRefusal is why the primary does not answer. One that refuses this host for where it comes from
// is told what to do; the address is what PostgreSQL there has seen.
func explainRefusal(asked inquiry) string {
	address, refused := pg.RefusedAddress(asked.err)
	if !refused {
		return asked.err.Error()
	}
	return fmt.Sprintf("%s refuses this host, which comes from %s: add %s to replication_addresses in pgtwin.toml on %s",
		asked.node, address, address, asked.node)
}
