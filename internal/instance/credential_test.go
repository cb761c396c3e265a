package instance

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
)

func TestValidationNamesWhatIsWrongWithThePasswordFile(t *testing.T) {
	for text, says := range map[string]string{
		"":                                 "cannot find the replication role",
		"*:*:*:postgres:secret\n":          "not that of postgres, the superuser",
		"*:*:*:a:secret\n*:*:*:b:secret\n": "add the line *:5432:replication:ROLE:PASSWORD",
		"*:*:replication:a:sec\u00A0ret\n": "line 1 of password file",
		"*:*:replication:a:secret:more\n":  "line 1 of password file",
	} {
		t.Run(says, func(t *testing.T) {
			i := checkable(t)
			must(t, os.WriteFile(i.PassFile, []byte(text), 0o600))
			check := func(when string) {
				err := Check(t.Context(), i, slog.New(slog.DiscardHandler))
				var failure *Failure
				if !errors.As(err, &failure) || failure.Code != ocf.ErrPerm || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: error %v, want one that says %q", when, err, says)
				}
			}
			check("before the first start")
			must(t, os.MkdirAll(config.RunDir(i.Name), 0o755))
			t.Cleanup(func() { os.RemoveAll(config.RunDir(i.Name)) })
			must(t, pg.WritePassFile(config.PassFileCopy(i.Name), replicator, 0, 0))
			check("while the last password is in use")
		})
	}
}

// A start between the two steps of a rotation takes the password that works, whichever step came first.
func TestAStartDuringARotationTakesThePasswordThatWorks(t *testing.T) {
	for name, c := range map[string]struct{ used, wanted string }{
		"the file was changed, the role was not": {"secret", "new"},
		"the role was changed before the file":   {"old", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			port := startPrimary(t)
			i := checkable(t)
			i.Port, i.Addresses = port, map[string]string{"h2": "127.0.0.1"}
			must(t, os.WriteFile(i.PassFile, []byte("*:*:replication:replicator:"+c.wanted+"\n"), 0o600))
			must(t, os.MkdirAll(config.RunDir(i.Name), 0o755))
			t.Cleanup(func() { os.RemoveAll(config.RunDir(i.Name)) })
			must(t, pg.WritePassFile(config.PassFileCopy(i.Name), pg.Credential{User: "replicator", Password: pg.Password(c.used)}, 0, 0))

			a := New(i, nil, slog.New(slog.DiscardHandler))
			must(t, a.findCredential())
			if a.askPrimary(t.Context(), "h2") == nil {
				t.Error("the primary does not answer")
			}
			got, err := pg.ReadWritten(config.PassFileCopy(i.Name))
			if err != nil || got.Password != "secret" || a.credential.Password != "secret" {
				t.Errorf("password %q, %v", string(got.Password), err)
			}
		})
	}
}

func TestAStartGoesOnWithTheLastPasswordWhereTheFileIsSpoiled(t *testing.T) {
	i := checkable(t)
	must(t, os.Remove(i.PassFile))
	a := New(i, nil, slog.New(slog.DiscardHandler))
	if err := a.findCredential(); err == nil || !strings.Contains(err.Error(), filepath.Base(i.PassFile)) {
		t.Errorf("without either file: %v", err)
	}
	must(t, os.MkdirAll(config.RunDir(i.Name), 0o755))
	t.Cleanup(func() { os.RemoveAll(config.RunDir(i.Name)) })
	must(t, pg.WritePassFile(config.PassFileCopy(i.Name), replicator, 0, 0))
	if err := a.findCredential(); err != nil || a.credential.User != "replicator" || a.credential.Managed || !a.secret.Settled() {
		t.Errorf("with the copy: %+v, %v", a.credential, err)
	}
}
