package supervisor

import (
	"context"
	"time"

	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// servedPatience bounds the question for the certificate in use.
const servedPatience = 2 * time.Second

// checkTLS says whether PostgreSQL would start with the TLS files as they are now, and keeps copies of those
// that it has loaded: with a key that it cannot read, as a renewal may leave it, it goes on and does not
// start again.
func (h house) checkTLS(ctx context.Context, found *survey) {
	now := instance.ReadTLS(h.instance)
	standIns, err := instance.ReadStandIns(h.instance.Name)
	in, on := standIns[pg.TLS]
	switch {
	case err != nil:
		h.log.Warn(err.Error())
	case on:
		found.tlsMended = now.Mended(in)
	case now.Problem != nil && now.HasCopies(h.instance):
		found.advice = append(found.advice, "PostgreSQL goes on with the TLS files that it has loaded, and its next start will use their last good copies: "+now.Problem.Error())
	case now.Problem != nil:
		found.advice = append(found.advice, "PostgreSQL goes on with the TLS files that it has loaded, and would not start with those that are there now: "+now.Problem.Error())
	case len(now.Files) > 0 && !now.Kept(h.instance):
		h.keepTLS(ctx, now, found)
	}
}

// keepTLS keeps copies of files whose certificate is in use.
func (h house) keepTLS(ctx context.Context, now instance.TLS, found *survey) {
	ctx, cancel := context.WithTimeout(ctx, servedPatience)
	defer cancel()
	served, err := pg.ServedCertificate(ctx, "127.0.0.1", h.instance.Port)
	if err != nil {
		served, err = pg.ServedCertificate(ctx, instance.Address(h.instance, h.instance.Node), h.instance.Port)
	}
	switch {
	case err != nil:
		h.log.Debug("no copies of the TLS files", "error", err)
	case !now.Serves(served):
		found.advice = append(found.advice, "PostgreSQL uses another certificate than its file has by now: tell it to read its configuration "+
			"(SELECT pg_reload_conf()); its log says why where that changes nothing")
	default:
		if err := now.Keep(h.instance); err != nil {
			h.log.Warn(err.Error())
		}
	}
}

// mendTLS uses the administrator's files again once they are in order.
func (s *Supervisor) mendTLS(ctx context.Context) error {
	if err := s.changeStandIns(pg.TLS, nil); err != nil {
		return err
	}
	s.Log.Info("the TLS files are right again, and in use")
	s.houseAt = time.Time{}
	return s.configure(ctx, s.follows, s.required(), s.spared())
}
