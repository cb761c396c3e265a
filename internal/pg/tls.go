package pg

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// TLSFile is a file that PostgreSQL loads for connections with TLS. It does not start where it cannot, and
// goes on with what it has when it is told to reload (be_tls_init in be-secure-openssl.c).
type TLSFile struct {
	Setting string
	Path    string // absolute
	Where   string // file and line of the setting; "" for PostgreSQL's default
}

// SSLKey is the setting that names the private key.
const SSLKey = "ssl_key_file"

// SSLCert is the setting that names the server's certificate.
const SSLCert = "ssl_cert_file"

// SSLCA is the setting that names the certificates by which clients are checked.
const SSLCA = "ssl_ca_file"

// TLSFiles are those of the administrator's files; none where ssl is off.
func TLSFiles(files ConfFiles, pgdata string) (all []TLSFile) {
	if !files.On("ssl") {
		return nil
	}
	for _, s := range []struct{ setting, initial string }{
		{SSLCert, "server.crt"}, {SSLKey, "server.key"}, {SSLCA, ""}, {"ssl_crl_file", ""}, {"ssl_dh_params_file", ""},
	} {
		value, set := files.Values[s.setting]
		f := TLSFile{Setting: s.setting, Path: s.initial}
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

// TLSCopy is the copy of a TLS file that PostgreSQL has loaded.
func TLSCopy(dir string, f TLSFile) string { return filepath.Join(dir, "accepted."+f.Setting) }

// HasTLSCopies says whether dir has a copy of each of the files.
func HasTLSCopies(dir string, files []TLSFile) bool {
	return len(files) > 0 && !slices.ContainsFunc(files, func(f TLSFile) bool {
		_, err := os.Stat(TLSCopy(dir, f))
		return err != nil
	})
}

// KeepTLS keeps copies of files that PostgreSQL has loaded, with these contents. Only the server's user may
// read them: one of them is the private key.
func KeepTLS(dir string, files []TLSFile, contents [][]byte, uid, gid uint32) error {
	for n, f := range files {
		if _, err := replaceIfChanged(TLSCopy(dir, f), contents[n], 0o600, uid, gid); err != nil {
			return fmt.Errorf("cannot keep a copy of %s: %w", f.Path, err)
		}
	}
	return nil
}

// tlsSettings let the copies stand in for the files.
func tlsSettings(dir string, files []TLSFile) (all []setting) {
	for _, f := range files {
		all = append(all, setting{f.Setting, TLSCopy(dir, f), "The last good copy; PostgreSQL would not start with your file."})
	}
	return all
}

// ServedCertificate is the certificate with which a server answers, in DER. It asks for TLS as a client does
// and goes no further (manual, "SSL Session Encryption" of the protocol).
func ServedCertificate(ctx context.Context, host string, port int) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the certificate in use: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	answer := make([]byte, 1)
	if err == nil {
		_, err = conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // SSLRequest
	}
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err == nil && answer[0] != 'S' {
		err = errors.New("PostgreSQL offers no TLS")
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // it is compared with the file, and nothing is sent
	if err == nil {
		err = client.HandshakeContext(ctx)
	}
	if err == nil && len(client.ConnectionState().PeerCertificates) == 0 {
		err = errors.New("none came")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the certificate in use: %w", err)
	}
	return client.ConnectionState().PeerCertificates[0].Raw, nil
}

// TLSPaths are the TLS files with which the server runs; none where ssl is off.
func (c *Conn) TLSPaths(ctx context.Context) (paths []string, err error) {
	const sql = `SELECT s.setting FROM pg_catalog.pg_settings AS s
		WHERE s.name IN ('ssl_cert_file', 'ssl_key_file', 'ssl_ca_file', 'ssl_crl_file') AND s.setting <> '' AND pg_catalog.current_setting('ssl') = 'on'`
	rows, err := c.session.Query(ctx, sql)
	if err == nil {
		paths, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s for its TLS files: %w", c.target, brief(err))
	}
	return paths, nil
}
