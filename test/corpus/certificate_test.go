package corpus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// certificates makes a host's certificates and their keys. Those in the data directory come with a copy of it.
func (s *story) certificates(m *machine) error {
	account, err := postgres()
	if err != nil {
		return err
	}
	for cert, key := range s.folder.Certificates {
		if strings.HasPrefix(cert, "srv/data/") && m.boot.Node != "h1" {
			continue
		}
		certText, keyText, err := newCertificate(m.boot.Node)
		if err != nil {
			return err
		}
		for path, text := range map[string][]byte{cert: certText, key: keyText} {
			path = filepath.Join(m.boot.Dir, path)
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o600), os.Chown(path, int(account.Uid), int(account.Gid)))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// newCertificate is one that signs itself, as packages make them.
func newCertificate(host string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), err
}
