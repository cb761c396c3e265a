package supervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// keepHouseNow is one round of housekeeping with all that comes of it.
func (s *Supervisor) keepHouseNow(t *testing.T) {
	t.Helper()
	s.observe(t.Context())
	s.houseAt = time.Time{}
	s.keepHouse()
	select {
	case found := <-s.surveys:
		s.take(t.Context(), found)
	case <-time.After(40 * time.Second):
		t.Fatal("the housekeeping does not end")
	}
}

// edit changes one of the administrator's files.
func (s *Supervisor) edit(t *testing.T, name string, change func(string) string) {
	t.Helper()
	path := filepath.Join(s.Instance.PGData, name)
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(change(string(text))), 0o600))
}

func with(line string) func(string) string {
	return func(text string) string { return text + line + "\n" }
}
func without(line string) func(string) string {
	return func(text string) string { return strings.ReplaceAll(text, line+"\n", "") }
}

// awaitRequirement repeats the order that commits wait for the nodes, as the loop does, until it is obeyed.
func (s *Supervisor) awaitRequirement(t *testing.T, nodes ...string) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; {
		must(t, s.act(t.Context(), ha.Action{Verb: ha.Require, Nodes: nodes, Why: "of the test"}))
		time.Sleep(50 * time.Millisecond) // as the loop does between two looks
		if s.observe(t.Context()); slices.Equal(s.required(), nodes) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("commits wait for %v, ordered is %v", s.required(), nodes)
		}
	}
}

func (s *Supervisor) standingIn(t *testing.T) instance.StandIns {
	t.Helper()
	standIns, err := instance.ReadStandIns(s.Instance.Name)
	must(t, err)
	return standIns
}

func recordLog(s *Supervisor) *bytes.Buffer {
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	return &log
}

func promoted(t *testing.T, s *Supervisor, m *memory) {
	t.Helper()
	m.onWrite = func(cluster.Record) {}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
}

func TestATypingErrorKeepsNoCommitWaiting(t *testing.T) {
	for _, test := range []struct{ name, file, line string }{
		{"a syntax error", "postgresql.conf", "work_mem == 64MB"},
		{"a name that PostgreSQL does not know", "postgresql.conf", "max_conections = 200"},
		{"a file that is not there", "postgresql.conf", "include 'nowhere.conf'"},
		{"a name in postgresql.auto.conf", "postgresql.auto.conf", "max_conections = 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, m := startStandby(t)
			promoted(t, s, m)
			s.edit(t, "postgresql.conf", with("work_mem = 7MB"))
			must(t, s.conn.Reload(t.Context()))
			s.keepHouseNow(t)
			s.awaitRequirement(t, "h2")
			log := recordLog(s)
			s.edit(t, test.file, with(test.line))
			s.awaitRequirement(t)
			if said := strings.Count(log.String(), "level=ERROR"); said != 1 {
				t.Errorf("said %d times: %s", said, log)
			}
			if test.file == "postgresql.auto.conf" {
				if !has(t, pg.BrokenAuto(s.Instance.PGData), test.line) {
					t.Error("what was replaced is not kept")
				}
				return
			}
			if !strings.Contains(log.String(), "postgresql.conf, line ") {
				t.Errorf("the line is not named: %s", log)
			}
			s.keepHouseNow(t)
			if !strings.Contains(strings.Join(s.advice, "\n"), "is not in use, its last good copy is") {
				t.Errorf("the status says %q", s.advice)
			}
			s.edit(t, test.file, without(test.line))
			s.edit(t, test.file, with("work_mem = 9MB"))
			s.keepHouseNow(t)
			if s.keepHouseNow(t); len(s.standingIn(t)) > 0 || len(s.advice) > 0 {
				t.Errorf("after the correction: %v, %q", s.standingIn(t), s.advice)
			}
			if !has(t, config.PostgresConf(s.Instance.Name), s.Instance.PGData+"/postgresql.conf") {
				t.Error("the administrator's file is not in use again")
			}
		})
	}
}

// acceptedCopies are the texts of all copies that would stand in for the administrator's files.
func (s *Supervisor) acceptedCopies(t *testing.T) map[pg.Kind]string {
	t.Helper()
	copies := map[pg.Kind]string{}
	for _, kind := range append(pg.Kinds(), pg.Auto) {
		text, err := os.ReadFile(pg.AcceptedFile(config.ConfDir(s.Instance.Name), kind))
		must(t, err)
		copies[kind] = string(text)
	}
	return copies
}

func TestAnErrorIsFoundWhenItIsMade(t *testing.T) {
	s, m := startStandby(t)
	promoted(t, s, m)
	s.keepHouseNow(t)
	if len(s.advice) > 0 {
		t.Fatalf("of good files the status says %q", s.advice)
	}
	good := s.acceptedCopies(t)
	for _, test := range []struct {
		file, line string
		read       bool   // the administrator has ordered PostgreSQL to read the access rules, and 15 reads a copy
		effect     string // that the first look names, "": PostgreSQL 15 has not been asked yet then
	}{
		{"postgresql.conf", "work_mem = 7MB\nwork_mem == 64MB", false, "PostgreSQL does not take it in, and would not start with it"},
		{"postgresql.conf", "work_mem = lots", false, "PostgreSQL does not take it in, and would not start with it"},
		{"postgresql.auto.conf", "no_such_setting = 1", false, "mend it by ALTER SYSTEM RESET"},
		{"pg_hba.conf", "host all all 10.0.0.0/8 scarm-sha-256", false, ""},
		{"pg_hba.conf", "host all all 10.0.0.0/8 scram-sha-265", true, "PostgreSQL goes on with the rules it has"},
		{"pg_ident.conf", "pgtwin root", false, ""},
		{"pg_ident.conf", "pgtwin daemon", true, "PostgreSQL goes on with the maps it has"},
	} {
		t.Run(test.line, func(t *testing.T) {
			s.edit(t, test.file, with(test.line))
			if test.read {
				_, err := s.writeAccess()
				must(t, err)
			}
			s.keepHouseNow(t)
			if advice := strings.Join(s.advice, "\n"); !strings.Contains(advice, test.effect) {
				t.Errorf("the status says %q first, and not %q", s.advice, test.effect)
			}
			s.keepHouseNow(t)
			if advice := strings.Join(s.advice, "\n"); !strings.Contains(advice, filepath.Join(s.Instance.PGData, test.file)) || !strings.Contains(advice, "line ") {
				t.Errorf("the status says %q", s.advice)
			}
			// While the copies stand in, a start and a promotion still work.
			for kind, text := range s.acceptedCopies(t) {
				if text != good[kind] {
					t.Errorf("the copy of %s is another than that of the good file, it ends in %q", kind, text[max(0, len(text)-100):])
				}
			}
			s.edit(t, test.file, without(test.line))
			s.keepHouseNow(t)
			if s.keepHouseNow(t); len(s.advice) > 0 || len(s.standingIn(t)) > 0 {
				t.Errorf("after the correction: %q, %v", s.advice, s.standingIn(t))
			}
		})
	}
}

func TestAValueThatPostgreSQLCannotUseHoldsUpNoOther(t *testing.T) {
	s, m := startStandby(t)
	promoted(t, s, m)
	s.keepHouseNow(t)
	s.edit(t, "postgresql.conf", with("work_mem = lots"))
	s.keepHouseNow(t)
	if standIns := s.standingIn(t); len(standIns) > 0 {
		t.Errorf("copies stand in for %v", standIns.Kinds())
	}
}

func TestAStrictPromotionMakesSureThatCommitsWait(t *testing.T) {
	s, m := startStandby(t)
	s.Instance.RepMode = "strict"
	s.keepHouseNow(t)
	s.edit(t, "postgresql.conf", with("work_mem == 64MB"))
	var required []string
	m.onWrite = func(cluster.Record) { required = s.required() }
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
	if len(required) > 0 {
		t.Fatal("it was required before the promotion")
	}
	if !slices.Equal(s.required(), []string{"h2"}) {
		t.Errorf("promoted while commits wait for %v", s.required())
	}
}

func TestAStrictPromotionIsRefusedWhereCommitsWouldNotWait(t *testing.T) {
	s, m := startStandby(t)
	s.Instance.RepMode = "strict"
	m.onWrite = func(cluster.Record) {}
	s.edit(t, "postgresql.conf", with("work_mem == 64MB")) // and there is no copy
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	s.Log = slog.New(slog.NewTextHandler(cancelsAt{"commits still wait for", cancel}, nil))
	err := s.promote(ctx)
	if err == nil || !strings.Contains(err.Error(), "commits would not wait for h2") || !strings.Contains(err.Error(), "postgresql.conf, line ") {
		t.Errorf("error %v", err)
	}
	if s.observe(t.Context()); s.seen.role != ha.Standby {
		t.Errorf("PostgreSQL is %s", s.seen.role)
	}
}

// cancelsAt is a log that ends what is waited for once it has these words.
type cancelsAt struct {
	words  string
	cancel context.CancelFunc
}

func (c cancelsAt) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(c.words)) {
		c.cancel()
	}
	return len(line), nil
}

func TestAFileIsTriedAgainWhenItHasChanged(t *testing.T) {
	s, m := startStandby(t)
	promoted(t, s, m)
	s.keepHouseNow(t)
	// A start has failed, and the copy stands in: nobody knows why.
	must(t, s.changeStandIns(pg.Conf, &instance.StandIn{Why: "PostgreSQL did not start with it"}))
	s.edit(t, "postgresql.conf", with("shared_preload_libraries = 'no_such_library'"))
	s.keepHouseNow(t)
	in, on := s.standingIn(t)[pg.Conf]
	if !on || !strings.Contains(in.Why, "shared_preload_libraries") {
		t.Fatalf("stands in: %t, %q", on, in.Why)
	}
	log := recordLog(s)
	s.keepHouseNow(t)
	s.keepHouseNow(t)
	if strings.Contains(log.String(), "not in use") {
		t.Errorf("tried again and again: %s", log)
	}
	s.edit(t, "postgresql.conf", without("shared_preload_libraries = 'no_such_library'"))
	s.keepHouseNow(t)
	if len(s.standingIn(t)) > 0 {
		t.Error("the copy still stands in")
	}
	_, err := os.Stat(config.StandInFile(s.Instance.Name))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note is left: %v", err)
	}
}

func TestTheAccessRulesFollowThePeers(t *testing.T) {
	s, m := startStandby(t)
	s.Instance.Addresses = map[string]string{"h1": "127.0.0.1", "h2": "192.0.2.2"}
	promoted(t, s, m)
	s.keepHouseNow(t)
	hba := config.HBAConf(s.Instance.Name)
	if !has(t, hba, `host replication "replicator" 192.0.2.2/32 `) || has(t, hba, `"replicator" all `) {
		t.Error("the rules do not name the peers")
	}
	s.Instance.Addresses = map[string]string{"h1": "127.0.0.1", "h2": "192.0.2.22"}
	s.Instance.ReplicationAddresses = []string{"198.51.100.0/24"}
	s.observe(t.Context())
	before := s.seen.look.ConfLoaded
	for end := time.Now().Add(40 * time.Second); !s.seen.look.ConfLoaded.After(before); time.Sleep(20 * time.Millisecond) {
		if s.keepHouseNow(t); time.Now().After(end) {
			t.Fatal("PostgreSQL has not read them")
		}
	}
	if !has(t, hba, `192.0.2.22/32`) || !has(t, hba, "198.51.100.0/24") {
		t.Error("the rules do not follow")
	}
}

func TestARuleForTheSocketThatHasNoEffectIsToldOnce(t *testing.T) {
	s, _ := startStandby(t)
	s.edit(t, "pg_hba.conf", with("local all postgres scram-sha-256"))
	log := recordLog(s)
	for range 3 {
		s.keepHouseNow(t)
	}
	if told := strings.Count(log.String(), "the method scram-sha-256 does not apply"); told != 1 {
		t.Errorf("told %d times: %s", told, log)
	}
}
