package instance

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
)

// sorted is an activation of a database with an index that ICU 1.2 has sorted, and whose programs are the host's.
func sorted(t *testing.T) (*Activation, *bytes.Buffer) {
	t.Helper()
	a, _ := arrive(t, ha.Epoch{}, 0)
	dir, err := os.MkdirTemp("", "pgtwin-sorted-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chown(dir, int(a.owner.uid), int(a.owner.gid)))
	a.Instance.PGData, a.Instance.SocketDir, a.Instance.StopTimeout = filepath.Join(dir, "data"), dir, 40*time.Second
	a.withData(t)
	single := program([]string{"postgres", "--single", "-D", a.Instance.PGData, "postgres"})
	single.Stdin = strings.NewReader("CREATE COLLATION old (provider = icu, locale = 'de', version = '1.2')\n" +
		"CREATE TABLE t (a text COLLATE old)\n" + "CREATE INDEX ON t (a)\n")
	if out, err := single.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	a.Instance.Port = l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	a.runtime, err = runtime.Open(t.Context(), "host", runtime.Options{BinDir: bindir})
	must(t, err)
	log := &bytes.Buffer{}
	a.Log = slog.New(slog.NewTextHandler(log, nil))
	t.Cleanup(func() { must(t, Stop(context.Background(), a.Instance, slog.New(slog.DiscardHandler))) })
	return a, log
}

// recorded is what the supervisor noted of that database while other programs ran, which had ICU 1.2.
func (a *Activation) recorded(t *testing.T) CollationRecord {
	return CollationRecord{System: systemOf(t, a.Instance.PGData), Runtime: "podman", Image: "sha256:old", Collations: []pg.Collation{
		{Database: "postgres", Name: "public.old", Provider: "icu", Locale: "de", Actual: "1.2", Recorded: "1.2", Stored: true}}}
}

func TestAStartWithProgramsThatSortOtherwise(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Activation, *CollationRecord)
		says   string // the refusal
		logs   string
	}{
		{"is refused after a change of the programs", func(*Activation, *CollationRecord) {},
			"cannot run the programs of the host in place of the image sha256:old (podman): database postgres: collation public.old (icu de) has version ",
			"checking: whether the collations of the programs of the host are those of the image sha256:old (podman)"},
		{"goes on where the administrator accepts it", func(a *Activation, _ *CollationRecord) { a.Instance.AcceptCollationChange = true }, "",
			"accept_collation_change is set: starting the programs of the host in place of the image sha256:old"},
		{"goes on after an update of packages", func(_ *Activation, r *CollationRecord) { r.Runtime, r.Image = "host", "" }, "", "starting: PostgreSQL as a standby"},
		{"goes on where the change is older than the record", func(_ *Activation, r *CollationRecord) { r.Collations[0].Actual = "" }, "", ""},
		{"goes on with the data of another cluster", func(_ *Activation, r *CollationRecord) { r.System++ }, "", "starting: PostgreSQL as a standby"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, log := sorted(t)
			r := a.recorded(t)
			test.change(a, &r)
			if r.Collations[0].Actual == "" { // as if another image had brought the present version before
				r.Collations[0].Actual = a.present(t)
			}
			must(t, r.Write(a.Instance.Name))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := a.start(ctx, ha.Arrival{})
			server, errFind := postmaster.Find(a.Instance.PGData)
			must(t, errFind)
			var p control.Progress
			must(t, control.ReadJSON(config.ProgressFile(a.Instance.Name), &p))
			if test.says == "" && (err != nil || server == nil || p.Phase != control.PhaseRunning || p.Comparing) {
				t.Errorf("error %v, server %v, progress %+v", err, server, p)
			}
			if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || server != nil || !p.Comparing) {
				t.Errorf("error %v, server %v, progress %+v", err, server, p)
			}
			if failure := (*Failure)(nil); test.says != "" && (!errors.As(err, &failure) || failure.Code != ocf.ErrArgs || !strings.Contains(err.Error(), "set accept_collation_change = true in pgtwin.toml")) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(log.String(), test.logs) {
				t.Errorf("the log lacks %q:\n%s", test.logs, log)
			}
		})
	}
}

// present is the version of ICU that the programs have.
func (a *Activation) present(t *testing.T) string {
	t.Helper()
	must(t, a.start(t.Context(), ha.Arrival{}))
	found, err := pg.Collations(t.Context(), Local(a.Instance))
	must(t, err)
	must(t, Stop(t.Context(), a.Instance, a.Log))
	if len(found) != 1 || found[0].Actual == "" {
		t.Fatalf("found %+v", found)
	}
	return found[0].Actual
}

func TestWhatARecordSaysOfCollations(t *testing.T) {
	libc := func(actual, recorded string, stored bool) pg.Collation {
		return pg.Collation{Database: "app", Provider: "libc", Locale: "en_US.UTF-8", Actual: actual, Recorded: recorded, Stored: stored}
	}
	record := func(c ...pg.Collation) CollationRecord { return CollationRecord{System: 1, Collations: c} }
	tests := []struct {
		name     string
		record   CollationRecord
		found    pg.Collation
		accepted bool
		changed  bool // as the status has it
		worse    bool // as a planned change has it
	}{
		{"the same version", record(libc("2.31", "2.31", true)), libc("2.31", "2.31", true), false, false, false},
		{"other programs", record(libc("2.31", "2.31", true)), libc("2.36", "2.31", true), false, true, true},
		{"other programs, to which the primary's text is sorted", record(libc("2.31", "2.31", true)), libc("2.36", "2.36", true), false, false, false},
		{"changed before", record(libc("2.36", "2.31", true)), libc("2.36", "2.31", true), false, true, false},
		{"back to what the text is sorted by", record(libc("2.36", "2.31", true)), libc("2.31", "2.31", true), false, false, false},
		{"made since the record", record(), libc("2.36", "2.31", true), false, true, true},
		{"no version in the catalog, none on record", record(), libc("2.36", "", false), false, false, false},
		{"no version in the catalog, another on record", record(libc("2.31", "2.31", false)), libc("2.36", "", false), false, true, true},
		{"no version in the catalog, and the change is accepted", record(libc("2.31", "2.31", false)), libc("2.36", "", false), true, false, true},
		{"a C library without versions takes over", record(libc("2.31", "2.31", true)), libc("", "2.31", true), false, true, true},
		{"a C library without versions ran before", record(libc("", "", false)), libc("2.36", "", false), false, true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found := []pg.Collation{test.found}
			if got := test.record.Complete(found, test.accepted)[0].Changed(); got != test.changed {
				t.Errorf("changed: %t", got)
			}
			if got := len(test.record.worse(found)) > 0; got != test.worse {
				t.Errorf("worse: %t", got)
			}
		})
	}
	kept := record(libc("2.31", "2.31", true)).Kept([]pg.Collation{{Database: "other"}})
	if len(kept) != 2 || kept[1].Database != "app" {
		t.Errorf("kept %+v", kept)
	}
}

func TestACollationWarningSaysWhatToDo(t *testing.T) {
	c := pg.Collation{Database: "app", Provider: "libc", Locale: "en_US.UTF-8", Actual: "2.36", Recorded: "2.31", Stored: true}
	before15 := c
	before15.Stored = false
	for _, test := range []struct {
		c       pg.Collation
		objects []string
		more    int
		primary bool
		want    string
	}{
		{c, []string{"public.a", "public.b"}, 3, true, `database app: its default collation (libc en_US.UTF-8) has version 2.36 on this host, the text is sorted by version 2.31: ` +
			`wrong may be public.a, public.b and 3 more; REINDEX DATABASE "app", then ALTER DATABASE "app" REFRESH COLLATION VERSION`},
		{c, nil, 0, false, `database app: its default collation (libc en_US.UTF-8) has version 2.36 on this host, the text is sorted by version 2.31; ` +
			`no index is in its order; give this host the programs that the primary has, or REINDEX after a promotion of this host`},
		{before15, []string{"public.a"}, 0, true, `database app: its default collation (libc en_US.UTF-8) has version 2.36 on this host, the text is sorted by version 2.31: ` +
			`wrong may be public.a; REINDEX DATABASE "app", then start once with accept_collation_change = true in pgtwin.toml`},
	} {
		if got := CollationWarning(test.c, test.objects, test.more, test.primary); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestValidationSaysThatAStartWouldCompare(t *testing.T) {
	a, _ := arrive(t, ha.Epoch{}, 0)
	a.withData(t)
	log := &bytes.Buffer{}
	a.Log = slog.New(slog.NewTextHandler(log, nil))
	a.checkCollations()
	if log.Len() > 0 {
		t.Errorf("without a record: %s", log)
	}
	must(t, a.recorded(t).Write(a.Instance.Name))
	a.checkCollations()
	if !strings.Contains(log.String(), "the start compares the versions of 1 collations (the first: database postgres: collation public.old (icu de), version 1.2)") {
		t.Errorf("with a record: %s", log)
	}
}

func TestCheckSaysThatAStartWouldCompare(t *testing.T) {
	for name, accepted := range map[string]bool{"the start may be refused": false, "the change is accepted": true} {
		t.Run(name, func(t *testing.T) {
			i, log := checkable(t), &bytes.Buffer{}
			i.AcceptCollationChange = accepted
			must(t, (&Activation{Instance: i}).recorded(t).Write(i.Name))
			must(t, Check(t.Context(), i, slog.New(slog.NewTextHandler(log, nil))))
			if says := strings.Contains(log.String(), "the start compares the versions of 1 collations"); says == accepted {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}
