package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"pgtwin/test/certificate"
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
		certText, keyText, err := certificate.New(m.boot.Node)
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
