package instance

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pgtwin/internal/config"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// TLS are the files of the server's TLS as they are now.
type TLS struct {
	Files    []pg.TLSFile // none: ssl is off
	contents [][]byte
	// Problem is why PostgreSQL would not start with them, as far as can be told without it; nil: it would.
	Problem error
}

// ReadTLS reads the TLS files of instance i as PostgreSQL's user may.
func ReadTLS(i config.Instance) TLS {
	found := TLS{Files: pg.TLSFiles(filesInForce(i), i.PGData)}
	if len(found.Files) == 0 {
		return found
	}
	user, err := dataOwner(i)
	if err != nil {
		return TLS{found.Files, nil, err}
	}
	for _, f := range found.Files {
		text, err := readTLS(i, user, f)
		if err != nil {
			return TLS{found.Files, nil, fmt.Errorf("%s: %w", named(f), err)}
		}
		found.contents = append(found.contents, text)
	}
	found.Problem = found.match()
	return found
}

// named is a TLS file as the administrator knows it.
func named(f pg.TLSFile) string {
	if f.Where == "" {
		return f.Setting
	}
	return f.Setting + " (" + f.Where + ")"
}

func readTLS(i config.Instance, user owner, f pg.TLSFile) ([]byte, error) {
	if i.ContainerMode {
		seen, err := (&Activation{Instance: i}).visible(nil)
		if err != nil {
			return nil, err
		}
		if !storage.Within(f.Path, seen) {
			return nil, fmt.Errorf("PostgreSQL cannot see %s in its container: name its directory in container_dirs", f.Path)
		}
	}
	text, err := storage.ReadAs(f.Path, user.identity(), pg.ConfSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not here: bring it here from the host that has it, or from a backup", f.Path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("PostgreSQL cannot read %s, because it runs as user id %d: chgrp %d %s; chmod g+r %s (namei -l %s shows a directory above that does not let it pass)",
			f.Path, user.uid, user.gid, f.Path, f.Path, f.Path)
	case err == nil && f.Setting == pg.SSLKey:
		err = checkKey(f.Path, user)
	}
	return text, err
}

// checkKey has PostgreSQL's rules for the private key (check_ssl_key_file_permissions in be-secure-common.c).
func checkKey(path string, user owner) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	uid, mode := info.Sys().(*syscall.Stat_t).Uid, info.Mode().Perm()
	switch {
	case uid != user.uid && uid != 0:
		return fmt.Errorf("%s belongs to user id %d, and PostgreSQL takes a key of its own user or of root alone: chown %d %s", path, uid, user.uid, path)
	case uid == user.uid && mode&0o077 != 0:
		return fmt.Errorf("%s has mode %#o, and PostgreSQL takes no key that others may read: chmod 0600 %s", path, mode, path)
	case uid == 0 && mode&0o037 != 0:
		return fmt.Errorf("%s has mode %#o, and PostgreSQL takes a key of root only with 0640 or less: chmod 0640 %s", path, mode, path)
	}
	return nil
}

// match finds files that hold something else than they should. What Go does not understand is left to
// PostgreSQL.
func (t TLS) match() error {
	var cert, key []byte
	for n, f := range t.Files {
		if !bytes.Contains(t.contents[n], []byte("-----BEGIN ")) {
			return fmt.Errorf("%s: %s has nothing in PEM", named(f), f.Path)
		}
		switch f.Setting {
		case pg.SSLCert:
			cert = t.contents[n]
		case pg.SSLKey:
			key = t.contents[n]
		}
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil && strings.Contains(err.Error(), "does not match") {
		return fmt.Errorf("the key of %s is not the key of the certificate: bring both from where they were made", pg.SSLKey)
	}
	return nil
}

// Serves says whether a server that answers with this certificate has loaded the files.
func (t TLS) Serves(der []byte) bool {
	for n, f := range t.Files {
		if f.Setting != pg.SSLCert || len(t.contents) <= n {
			continue
		}
		block, _ := pem.Decode(t.contents[n])
		if block == nil {
			return false
		}
		own, err := x509.ParseCertificate(block.Bytes)
		return err == nil && bytes.Equal(own.Raw, der)
	}
	return false
}

// Keep keeps copies of the files, with which PostgreSQL starts where it could not with these.
func (t TLS) Keep(i config.Instance) error {
	user, err := dataOwner(i)
	if err != nil {
		return err
	}
	return pg.KeepTLS(config.ConfDir(i.Name), t.Files, t.contents, user.uid, user.gid)
}

// Kept says whether the copies are of these contents.
func (t TLS) Kept(i config.Instance) bool {
	for n, f := range t.Files {
		have, err := os.ReadFile(pg.TLSCopy(config.ConfDir(i.Name), f))
		if err != nil || !bytes.Equal(have, t.contents[n]) {
			return false
		}
	}
	return true
}

// Mended says whether PostgreSQL would start with files in whose place copies stand: nothing is known to be
// wrong with them, and they are not those with which a start has failed.
func (t TLS) Mended(in StandIn) bool { return t.Problem == nil && t.print() != in.Print }

// print changes when a file does.
func (t TLS) print() string {
	sum := sha256.New()
	for n, f := range t.Files {
		fmt.Fprintf(sum, "%s %d\n", f.Path, len(t.contents[n]))
		sum.Write(t.contents[n])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// HasCopies says whether there are copies to stand in.
func (t TLS) HasCopies(i config.Instance) bool {
	return pg.HasTLSCopies(config.ConfDir(i.Name), t.Files)
}

// checkTLS is settleTLS beforehand.
func checkTLS(i config.Instance, log *slog.Logger) error {
	found := ReadTLS(i)
	switch {
	case found.Problem == nil:
		return nil
	case found.HasCopies(i):
		log.Warn("the next start will use the last good copies of the TLS files: " + found.Problem.Error())
		return nil
	}
	return refuseTLS(found.Problem)
}

func refuseTLS(problem error) error {
	return &Failure{ocf.ErrInstalled, fmt.Errorf("PostgreSQL would not start with its TLS files: %w", problem)}
}

// settleTLS lets the last good copies stand in for TLS files with which PostgreSQL would not start, and
// refuses the start where there are none.
func (a *Activation) settleTLS() error {
	standIns, err := ReadStandIns(a.Instance.Name)
	if err != nil {
		return err
	}
	found := ReadTLS(a.Instance)
	in, on := standIns[pg.TLS]
	switch {
	case on && found.Mended(in):
		delete(standIns, pg.TLS)
	case found.Problem == nil:
		return nil
	case found.HasCopies(a.Instance):
		standIns[pg.TLS] = StandIn{Why: found.Problem.Error()}
		a.Log.Error("starting with the last good copies of the TLS files: " + found.Problem.Error())
	default:
		return refuseTLS(found.Problem)
	}
	return WriteStandIns(a.Instance.Name, standIns)
}

// refusedTLS is why the last good copies of the TLS files are tried after a start that failed, and whether
// there are any that differ.
func refusedTLS(i config.Instance) (StandIn, bool) {
	found := ReadTLS(i)
	in := StandIn{Why: "PostgreSQL did not start with them"}
	if found.Problem != nil || !found.HasCopies(i) || found.Kept(i) {
		return in, false
	}
	in.Print = found.print()
	return in, true
}

// lacksTLS refuses where the source runs with a TLS file outside of its data directory that this host does
// not have: the copy would not start.
func (a *Activation) lacksTLS(source string, paths []string) error {
	for _, path := range paths {
		own := strings.HasPrefix(path, config.ConfDir(a.Instance.Name)+"/")
		if own || !filepath.IsAbs(path) || strings.HasPrefix(path, a.Instance.PGData+"/") {
			continue
		}
		if _, err := storage.ReadAs(path, a.owner.identity(), pg.ConfSize); err != nil {
			return fmt.Errorf("%w: PostgreSQL on %s uses %s for TLS, which it could not read here (%w): copy it here, readable by user id %d",
				errNotBegun, source, path, err, a.owner.uid)
		}
	}
	return nil
}
