package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TLSFile is a file that PostgreSQL loads for connections with TLS. It does not start where it cannot, and
// goes on with what it has when it is told to reload (be_tls_init in be-secure-openssl.c).
type TLSFile struct {
	Setting string
	Path    string // absolute
	Where   string // file and line of the setting; "" for PostgreSQL's default
}

// SSLKey is the setting that names the private key, SSLCert the one that names the server's certificate.
const (
	SSLKey  = "ssl_key_file"
	SSLCert = "ssl_cert_file"
)

// tlsSettings are the settings that name files, with PostgreSQL's defaults.
var tlsSettings = []struct{ name, initial string }{
	{SSLCert, "server.crt"}, {SSLKey, "server.key"}, {"ssl_ca_file", ""}, {"ssl_crl_file", ""}, {"ssl_dh_params_file", ""},
}

// TLSFiles are those of the administrator's files; none where ssl is off.
func TLSFiles(files ConfFiles, pgdata string) (all []TLSFile) {
	if !files.On("ssl") {
		return nil
	}
	for _, s := range tlsSettings {
		value, set := files.Values[s.name]
		f := TLSFile{Setting: s.name, Path: s.initial}
		if set {
			f.Path, f.Where = value.Text, fmt.Sprintf("%s, line %d", value.File, value.Line)
		}
		if f.Path == "" {
			continue
		}
		if !filepath.IsAbs(f.Path) {
			f.Path = filepath.Join(pgdata, f.Path)
		}
		all = append(all, f)
	}
	return all
}

// On reads a Boolean setting as parse_bool of PostgreSQL does.
func (f ConfFiles) On(name string) bool {
	text := strings.ToLower(strings.TrimSpace(f.Of(name)))
	return text != "" && (strings.HasPrefix("true", text) || strings.HasPrefix("yes", text) || text == "on" || text == "1")
}

// tlsDir is the directory of the copies; each copy has the name of its setting.
func tlsDir(dir string) string { return filepath.Join(dir, "tls") }

// HasTLSCopies says whether dir has copies of TLS files with which PostgreSQL has started.
func HasTLSCopies(dir string) bool {
	_, err := os.Stat(tlsDir(dir))
	return err == nil
}

// TLSCopy is the copy of one of the files, which need not be there.
func TLSCopy(dir, setting string) string { return filepath.Join(tlsDir(dir), setting) }

// KeepTLS keeps copies, by the settings that name the files, of those with which PostgreSQL has started, all
// or none; nil removes them. Only the server's user may read them, because one is the private key.
func KeepTLS(dir string, contents map[string][]byte, uid, gid uint32) error {
	next := tlsDir(dir) + ".next"
	err := os.RemoveAll(next)
	if err == nil && len(contents) > 0 {
		err = os.Mkdir(next, 0o755)
	}
	for setting, text := range contents {
		if err == nil {
			err = replaceFile(filepath.Join(next, setting), text, 0o600, uid, gid)
		}
	}
	if err == nil {
		err = os.RemoveAll(tlsDir(dir))
	}
	if err == nil && len(contents) > 0 {
		err = errors.Join(os.Rename(next, tlsDir(dir)), syncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("cannot keep copies of the TLS files: %w", err)
	}
	return nil
}

// UseTLSCopies are the settings with which PostgreSQL starts with the copies, whatever the files say. The
// copies become those of the server's user, who may have been another.
func UseTLSCopies(dir string, uid, gid uint32) (all []string, err error) {
	for _, s := range tlsSettings {
		path := TLSCopy(dir, s.name)
		err := os.Lchown(path, int(uid), int(gid))
		if errors.Is(err, fs.ErrNotExist) {
			path, err = "", nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot use the copies of the TLS files: %w", err)
		}
		all = append(all, s.name+"="+path)
	}
	return all, nil
}

// tlsPaths are the TLS files with which the server runs, "" for one that is not set; none where ssl is off.
// ssl_dh_params_file is left out, because superusers alone may ask for it.
func (c *Conn) tlsPaths(ctx context.Context) ([]string, error) {
	const sql = `SELECT pg_catalog.current_setting('ssl'), ARRAY[pg_catalog.current_setting('ssl_cert_file'), pg_catalog.current_setting('ssl_key_file'),
		pg_catalog.current_setting('ssl_ca_file'), pg_catalog.current_setting('ssl_crl_file')]`
	var on string
	var paths []string
	if err := c.session.QueryRow(ctx, sql).Scan(&on, &paths); err != nil {
		return nil, fmt.Errorf("cannot ask %s for its TLS files: %w", c.target, brief(err))
	}
	if on != "on" {
		return nil, nil
	}
	return paths, nil
}
