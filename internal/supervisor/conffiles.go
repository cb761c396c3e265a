package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// fileSurvey is what a round of housekeeping has found out about the administrator's files.
type fileSurvey struct {
	state  pg.FileState
	prints map[pg.Kind]string // of the files from before they were read; nil: PostgreSQL was not asked
}

// namedProblems is how many places in files are named one by one.
const namedProblems = 3

// checkFiles lets PostgreSQL read the administrator's files as they are now, says what is wrong with
// them and keeps copies of those that are right.
func (h house) checkFiles(ctx context.Context, conn *pg.Conn, found *survey) error {
	settings, err := instance.Settings(h.instance, h.inUse, "", nil)
	if err != nil {
		return err
	}
	settings.ConfDir = config.ConfDir(h.instance.Name)
	prints := pg.Prints(h.instance.PGData)
	state, err := conn.ReadFiles(ctx, settings)
	if err != nil {
		return err
	}
	found.files = fileSurvey{state, prints}
	standIns, err := instance.ReadStandIns(h.instance.Name)
	if err != nil {
		return err
	}
	found.advice = append(found.advice, standIns.Sentences(h.instance.PGData)...)
	found.advice = append(found.advice, adviceOn(state)...)
	uid, gid, err := pg.Owner(h.instance.PGData)
	if err != nil {
		return err
	}
	return pg.Accept(settings.ConfDir, settings, state, prints, uid, gid)
}

// adviceOn names what is wrong with the files that are in use.
func adviceOn(state pg.FileState) (all []string) {
	for _, f := range []struct {
		problems []pg.FileProblem
		effect   string
	}{
		{state.Conf, "PostgreSQL does not take it in, and would not start with it"},
		{state.Auto, "PostgreSQL does not take it in, and would not start with it: mend it by ALTER SYSTEM RESET, or in the file"},
		{state.HBA, "PostgreSQL goes on with the rules it has, and would not start with these"},
		{state.Ident, "PostgreSQL goes on with the maps it has, and would start without any"},
	} {
		for i, p := range f.problems {
			if i == namedProblems {
				all = append(all, fmt.Sprintf("%s: %d more errors", p.File, len(f.problems)-i))
				break
			}
			all = append(all, fmt.Sprintf("%s: %s", p, f.effect))
		}
	}
	return all
}

// tendFiles acts on what was found: a copy stands in for a file with an error, and a file that has
// changed since is tried again.
func (s *Supervisor) tendFiles(ctx context.Context, found fileSurvey) error {
	if found.prints == nil || s.conn == nil {
		return nil
	}
	standIns, err := instance.ReadStandIns(s.Instance.Name)
	if err != nil {
		return err
	}
	var wrong []error
	for _, kind := range pg.Kinds() {
		in, on := standIns[kind]
		switch problem := blocking(found.state.Problems(kind)); {
		case on && in.Print != found.prints[kind]:
			wrong = append(wrong, s.tryFile(ctx, kind))
		case !on && problem != nil && pg.HasAccepted(config.ConfDir(s.Instance.Name), kind):
			wrong = append(wrong, s.standIn(ctx, kind, instance.StandIn{Why: problem.String(), Print: found.prints[kind]}))
		case !on && problem == nil && kind != pg.Conf && s.unread(kind, found.prints[kind]):
			wrong = append(wrong, s.tryFile(ctx, kind))
		}
	}
	return errors.Join(wrong...)
}

// blocking is the first problem that keeps PostgreSQL from taking in anything, nil without one.
func blocking(problems []pg.FileProblem) *pg.FileProblem {
	for i := range problems {
		if problems[i].Blocks {
			return &problems[i]
		}
	}
	return nil
}

// unread says whether PostgreSQL reads another text than the administrator's file has by now, and has
// not been asked about that. It can only be before 16, where it reads a copy.
func (s *Supervisor) unread(kind pg.Kind, print string) bool {
	settings, err := instance.Settings(s.Instance, s.credential, "", nil)
	settings.ConfDir = config.ConfDir(s.Instance.Name)
	return err == nil && s.triedFiles[kind] != print && !pg.UpToDate(settings.ConfDir, settings)
}

// standIn lets the last good copy stand in for a file, and PostgreSQL read that.
func (s *Supervisor) standIn(ctx context.Context, kind pg.Kind, in instance.StandIn) error {
	if err := s.changeStandIns(kind, &in); err != nil {
		return err
	}
	s.Log.Error(fmt.Sprintf("using the last good copy of %s: %s", filepath.Join(s.Instance.PGData, string(kind)), in.Why))
	s.houseAt = time.Time{} // the status tells it soon
	return s.conn.Reload(ctx)
}

// tryFile lets PostgreSQL say whether the administrator's file is right as it is now. For that moment
// ours name it again; PostgreSQL takes in nothing, because nobody tells it to.
func (s *Supervisor) tryFile(ctx context.Context, kind pg.Kind) error {
	before, err := instance.ReadStandIns(s.Instance.Name)
	if err != nil {
		return err
	}
	in, on := before[kind]
	print := pg.FilePrint(s.Instance.PGData, kind)
	if err := s.changeStandIns(kind, nil); err != nil {
		return err
	}
	settings, err := instance.Settings(s.Instance, s.credential, "", nil)
	if err != nil {
		return err
	}
	settings.ConfDir = config.ConfDir(s.Instance.Name)
	state, err := s.conn.ReadFiles(ctx, settings)
	if err != nil {
		return errors.Join(err, s.restore(kind, in, on))
	}
	if kind == pg.Conf && len(state.Conf) == 0 && len(state.Auto) > 0 {
		return s.restore(kind, in, on) // no value has been looked at because of the other file
	}
	if why := refusal(state, kind, on && in.Print == ""); why != "" {
		now := instance.StandIn{Why: why, Print: print}
		if !on {
			return s.standIn(ctx, kind, now)
		}
		s.Log.Warn(fmt.Sprintf("%s is still not in use: %s", filepath.Join(s.Instance.PGData, string(kind)), why))
		return s.changeStandIns(kind, &now)
	}
	s.triedFiles = map[pg.Kind]string{pg.HBA: s.triedFiles[pg.HBA], pg.Ident: s.triedFiles[pg.Ident]}
	s.triedFiles[kind] = print
	if !on {
		return nil // PostgreSQL reads it when the administrator tells it to
	}
	s.Log.Info(fmt.Sprintf("%s is right again, and in use", filepath.Join(s.Instance.PGData, string(kind))))
	s.houseAt = time.Time{}
	return s.conn.Reload(ctx)
}

// restore is for when PostgreSQL could not be asked.
func (s *Supervisor) restore(kind pg.Kind, in instance.StandIn, on bool) error {
	if !on {
		return nil
	}
	return s.changeStandIns(kind, &in)
}

// refusal is why a file cannot be used, "" when it can. After a failed start the settings that differ
// from those in force are the likely cause, although each of them can be read.
func refusal(state pg.FileState, kind pg.Kind, failed bool) string {
	if problems := state.Problems(kind); len(problems) > 0 {
		return problems[0].String()
	}
	if !failed || kind != pg.Conf {
		return ""
	}
	pending := ""
	for _, setting := range state.Settings {
		if setting.Pending {
			pending += ", " + setting.Name
		}
	}
	if pending == "" {
		return ""
	}
	return "PostgreSQL did not start with what it says of " + pending[2:]
}

// changeStandIns notes that a copy stands in for a file, or with nil that it does not, and writes ours
// accordingly.
func (s *Supervisor) changeStandIns(kind pg.Kind, in *instance.StandIn) error {
	standIns, err := instance.ReadStandIns(s.Instance.Name)
	if err != nil {
		return err
	}
	delete(standIns, kind)
	if in != nil {
		standIns[kind] = *in
	}
	if err := instance.WriteStandIns(s.Instance.Name, standIns); err != nil {
		return err
	}
	settings, err := instance.Settings(s.Instance, s.credential, "", nil)
	if err != nil {
		return err
	}
	uid, gid, err := pg.Owner(s.Instance.PGData)
	if err != nil {
		return err
	}
	dir := config.ConfDir(s.Instance.Name)
	if kind == pg.Conf {
		_, err = pg.WriteMain(dir, settings, uid, gid)
	} else {
		_, err = pg.WriteAccess(dir, settings, uid, gid)
	}
	return err
}

// A configuration that PostgreSQL was told to read is in force in a moment. Where it is not after
// heedPatience, the files are looked at, and again every heedPeriod while that goes on.
const (
	heedPatience = 400 * time.Millisecond
	heedPeriod   = 5 * time.Second
)

// heeding is a change of what commits wait for that is to be seen in force.
type heeding struct {
	wanted string    // of the last order
	since  time.Time // when it was given first
	asked  time.Time // when the files were looked at last
	why    string    // what was said to be in the way
}

// order notes an order, and says whether it is another than the last one. One that came into force is
// not given again, so one that is has no effect yet.
func (h *heeding) order(wanted string, now time.Time) (first bool) {
	if h.wanted == wanted && now.Sub(h.since) < time.Minute {
		return false
	}
	*h = heeding{wanted: wanted, since: now}
	return true
}

// due says whether the files are to be looked at.
func (h *heeding) due(now time.Time) bool {
	if now.Sub(h.since) < heedPatience || now.Sub(h.asked) < heedPeriod {
		return false
	}
	h.asked = now
	return true
}

// insist finds out why PostgreSQL does not do what it was told, and removes the cause where it is an
// error in a file of which there is a good copy: pg_reload_conf() is true all the same.
func (s *Supervisor) insist(ctx context.Context) error {
	if s.conn == nil || !s.heed.due(time.Now()) {
		return nil
	}
	settings, err := instance.Settings(s.Instance, s.credential, "", nil)
	if err != nil {
		return err
	}
	settings.ConfDir = config.ConfDir(s.Instance.Name)
	prints := pg.Prints(s.Instance.PGData)
	state, err := s.conn.ReadFiles(ctx, settings)
	if err != nil {
		return err
	}
	problem := blocking(state.Auto)
	if problem != nil {
		return s.replaceAuto(ctx, problem.String())
	}
	problem = blocking(state.Conf)
	if problem != nil && pg.HasAccepted(settings.ConfDir, pg.Conf) {
		return s.standIn(ctx, pg.Conf, instance.StandIn{Why: problem.String(), Print: prints[pg.Conf]})
	}
	if problem != nil {
		return s.sayUnheeded(problem.String())
	}
	return s.sayUnheeded("PostgreSQL has not read its configuration yet")
}

// replaceAuto brings the last good postgresql.auto.conf back while commits wait for what the broken one
// keeps out of force.
func (s *Supervisor) replaceAuto(ctx context.Context, why string) error {
	uid, gid, err := pg.Owner(s.Instance.PGData)
	if err != nil {
		return err
	}
	replaced, err := pg.ReplaceAuto(config.ConfDir(s.Instance.Name), s.Instance.PGData, uid, gid)
	if err != nil {
		return err
	}
	if !replaced {
		return s.sayUnheeded(why)
	}
	s.Log.Error(fmt.Sprintf("brought back the last good postgresql.auto.conf; the one that PostgreSQL could not read is %s: %s",
		pg.BrokenAuto(s.Instance.PGData), why))
	return s.conn.Reload(ctx)
}

// sayUnheeded says once why commits go on to wait as before.
func (s *Supervisor) sayUnheeded(why string) error {
	if s.heed.why != why {
		s.heed.why = why
		s.Log.Error("commits still wait for " + waitedFor(s.required(), s.spared()) + ": " + why)
	}
	return nil
}

// awaitRequired makes sure, where commits are never to be acknowledged without them, that PostgreSQL
// requires the nodes before it is promoted.
func (s *Supervisor) awaitRequired(ctx context.Context, nodes []string) error {
	if ha.Mode(s.Instance.RepMode) != ha.Strict || len(nodes) == 0 {
		return nil
	}
	s.heed.order("promotion "+waitedFor(nodes, 0), time.Now())
	for {
		s.observe(ctx)
		s.askRequired(ctx)
		if missing(s.required(), nodes) == "" {
			return nil
		}
		if err := s.insist(ctx); err != nil {
			s.Log.Warn("cannot find out why the configuration is not in force", "error", err)
		}
		select {
		case <-ctx.Done():
			why := s.heed.why
			if s.seen.err != nil {
				why = fmt.Sprintf("%s; PostgreSQL refuses pgtwin a session: %v", cmp.Or(why, "it is not in force"), s.seen.err)
			}
			return fmt.Errorf("not promoted: commits would not wait for %s: %s", missing(s.required(), nodes), why)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askRequired asks whom commits wait for where PostgreSQL refuses a session. One in replication mode needs
// no database and no connection but that of a WAL sender.
func (s *Supervisor) askRequired(ctx context.Context) {
	if !s.seen.blind {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	names, err := pg.AskSynchronous(ctx, instance.Local(s.Instance))
	if err != nil {
		s.Log.Debug("cannot ask in replication mode whom commits wait for", "error", err)
		return
	}
	if names != s.seen.look.Synchronous {
		s.settings++
	}
	s.seen.look.Synchronous = names
}

// missing is the first of the wanted nodes that is not there, "" for none.
func missing(there, wanted []string) string {
	for _, node := range wanted {
		found := false
		for _, t := range there {
			found = found || t == node
		}
		if !found {
			return node
		}
	}
	return ""
}
