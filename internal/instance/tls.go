package instance

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// TLS are the files of the server's TLS as they are now. The zero value is that of a server without TLS.
type TLS struct {
	files    []pg.TLSFile
	contents map[string][]byte // by setting; nil where one of them is not to be had
	// Problem is why PostgreSQL would certainly not start with them; nil: nobody knows of a reason.
	Problem error
}

// ReadTLS reads the TLS files of instance i as PostgreSQL's user may.
func ReadTLS(i config.Instance) TLS {
	found := TLS{files: pg.TLSFiles(filesInForce(i), i.PGData)}
	user, err := dataOwner(i)
	if err != nil || len(found.files) == 0 {
		return found
	}
	seen, err := (&Activation{Instance: i}).visible(nil)
	if err != nil {
		return found
	}
	contents := map[string][]byte{}
	for _, f := range found.files {
		if i.ContainerMode && !storage.Within(f.Path, seen) {
			return found // the image may have it
		}
		text, err := storage.ReadAs(f.Path, user.identity(), pg.ConfSize)
		if found.Problem = fileProblem(f, text, err, user); err != nil || found.Problem != nil {
			return found
		}
		contents[f.Setting] = text
	}
	found.contents = contents
	found.Problem = found.pairProblem()
	return found
}

// fileProblem is why PostgreSQL does not load a file that was read so.
func fileProblem(f pg.TLSFile, text []byte, err error, user owner) error {
	setting := f.Setting
	if f.Where != "" {
		setting += " (" + f.Where + ")"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %s does not exist on this host: copy it here from the other host or from a backup", setting, f.Path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: PostgreSQL cannot read %s, because it runs as user id %d: add that user to the group of the file, or chgrp %d %s; chmod g+r %s (namei -l %s shows a directory above that does not let it pass)",
			setting, f.Path, user.uid, user.gid, f.Path, f.Path, f.Path)
	case err != nil:
		return nil // PostgreSQL has no limits of size
	case !bytes.Contains(text, []byte("-----BEGIN ")):
		return fmt.Errorf("%s: %s is not a PEM file", setting, f.Path)
	case f.Setting == pg.SSLKey:
		return keyProblem(f.Path, user)
	}
	return nil
}

// keyProblem has PostgreSQL's rules for the private key (check_ssl_key_file_permissions in be-secure-common.c).
func keyProblem(path string, user owner) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	uid, mode := info.Sys().(*syscall.Stat_t).Uid, info.Mode().Perm()
	switch {
	case uid != user.uid && uid != 0:
		return fmt.Errorf("%s: %s belongs to user id %d, and PostgreSQL takes only a key of its own user or of root: chown %d %s", pg.SSLKey, path, uid, user.uid, path)
	case uid == user.uid && mode&0o077 != 0:
		return fmt.Errorf("%s: %s has mode %#o, and PostgreSQL takes no key that others may read: chmod 0600 %s", pg.SSLKey, path, mode, path)
	case uid == 0 && mode&0o037 != 0:
		return fmt.Errorf("%s: %s has mode %#o, and PostgreSQL takes a key of root only where its group may read it and nobody else: chmod 0640 %s", pg.SSLKey, path, mode, path)
	}
	return nil
}

// pairProblem compares certificate and key. Go takes the first block of type CERTIFICATE for the server's;
// PostgreSQL takes others as well.
func (t TLS) pairProblem() error {
	cert, key := t.contents[pg.SSLCert], t.contents[pg.SSLKey]
	first, _ := pem.Decode(cert)
	if first == nil || first.Type != "CERTIFICATE" {
		return nil
	}
	if _, err := tls.X509KeyPair(cert, key); err == nil || !strings.Contains(err.Error(), "does not match") {
		return nil
	}
	var paths []any
	for _, f := range t.files[:2] { // TLSFiles has the certificate first, then the key
		paths = append(paths, f.Path)
	}
	return fmt.Errorf("the certificate %s and the key %s do not belong together, because their public keys differ", paths...)
}

// settleTLS reads the TLS files before a start. With files that PostgreSQL would certainly refuse the start
// uses the copies of an earlier one at once.
func (a *Activation) settleTLS() {
	a.tls = ReadTLS(a.Instance)
	if a.tls.Problem == nil || a.tlsCopies || !pg.HasTLSCopies(config.ConfDir(a.Instance.Name)) {
		return
	}
	a.tlsCopies = true
	a.Log.Error("starting with the copies of the TLS files from an earlier start: " + a.tls.Problem.Error())
}

// fallBackTLS lets a start that failed be tried again with the copies of the TLS files, where they differ.
func (a *Activation) fallBackTLS(why error) bool {
	if a.tlsCopies || len(a.tls.files) == 0 || !pg.HasTLSCopies(config.ConfDir(a.Instance.Name)) || a.tls.kept(a.Instance) {
		return false
	}
	a.tlsCopies = true
	a.Log.Error("PostgreSQL did not start: starting it with the copies of the TLS files from an earlier start, because those have changed", "error", why)
	return true
}

// tlsSettings are those of a start with copies.
func (a *Activation) tlsSettings() ([]string, error) {
	if !a.tlsCopies {
		return nil, nil
	}
	return pg.UseTLSCopies(config.ConfDir(a.Instance.Name), a.owner.uid, a.owner.gid)
}

// keepTLS keeps copies of the TLS files with which PostgreSQL has started, and none for one without TLS.
func (a *Activation) keepTLS() {
	now := ReadTLS(a.Instance)
	switch {
	case a.tlsCopies, a.tls.Problem != nil, len(a.tls.files) > 0 && a.tls.contents == nil, a.tls.kept(a.Instance):
		return
	case !maps.EqualFunc(now.contents, a.tls.contents, bytes.Equal):
		return // changed while PostgreSQL read them
	}
	if err := pg.KeepTLS(config.ConfDir(a.Instance.Name), a.tls.contents, a.owner.uid, a.owner.gid); err != nil {
		a.Log.Warn(err.Error())
	}
}

// kept says whether the copies have the same contents as the files.
func (t TLS) kept(i config.Instance) bool {
	dir := config.ConfDir(i.Name)
	if len(t.contents) == 0 {
		return len(t.files) == 0 && !pg.HasTLSCopies(dir)
	}
	entries, err := os.ReadDir(filepath.Dir(pg.TLSCopy(dir, pg.SSLKey)))
	if err != nil || len(entries) != len(t.contents) {
		return false
	}
	for setting, text := range t.contents {
		have, err := os.ReadFile(pg.TLSCopy(dir, setting))
		if err != nil || !bytes.Equal(have, text) {
			return false
		}
	}
	return true
}

// checkTLS is for validate-all: it refuses TLS files with which PostgreSQL would not start, and warns where a
// start would use copies instead.
func checkTLS(i config.Instance, log *slog.Logger) error {
	problem := ReadTLS(i).Problem
	dir := config.ConfDir(i.Name)
	switch {
	case problem == nil:
		return nil
	case pg.HasTLSCopies(dir):
		log.Warn("the next start will use the copies of the TLS files from the last one: " + problem.Error())
		return nil
	case pg.HasAccepted(dir, pg.Conf):
		log.Warn("PostgreSQL would not start with its TLS files, and the next start will use the last good copy of postgresql.conf: " + problem.Error())
		return nil
	}
	return &Failure{ocf.ErrInstalled, fmt.Errorf("PostgreSQL would not start with its TLS files: %w", problem)}
}

// TLSAdvice says what is wrong with the TLS files of a server that runs; copies says whether it was started
// with copies of them.
func TLSAdvice(i config.Instance, copies bool) string {
	problem := ReadTLS(i).Problem
	switch {
	case copies && problem != nil:
		return "PostgreSQL runs with copies of its TLS files from an earlier start, because it would not have started with these: " + problem.Error()
	case copies:
		return "PostgreSQL runs with copies of its TLS files from an earlier start; it uses your files from its next start on"
	case problem != nil && pg.HasTLSCopies(config.ConfDir(i.Name)):
		return "PostgreSQL would not start with its TLS files as they are now, so its next start will use the copies from the last one: " + problem.Error()
	case problem != nil:
		return "PostgreSQL would not start with its TLS files as they are now: " + problem.Error()
	}
	return ""
}

// warnOfTLS names the TLS files of the source outside of its data directory that PostgreSQL could not read
// on this host. This host's own configuration may name others.
func (a *Activation) warnOfTLS(source string, paths []string) {
	for _, path := range paths {
		own := strings.HasPrefix(path, config.ConfDir(a.Instance.Name)+"/") || strings.HasPrefix(path, a.Instance.PGData+"/")
		if own || !filepath.IsAbs(path) || !a.sees(path) {
			continue
		}
		if _, err := storage.ReadAs(path, a.owner.identity(), pg.ConfSize); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			a.Log.Warn(fmt.Sprintf("PostgreSQL on %s uses %s for TLS, which it could not read here: copy it here from %s, readable by user id %d",
				source, path, source, a.owner.uid), "error", err)
		}
	}
}
