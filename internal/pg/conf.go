package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const written = "# Written by pgtwin, replaced at any time.\n"

// includesVersion is the first major version whose pg_hba.conf and pg_ident.conf can include files.
const includesVersion = 16

// WriteConf writes postgresql.conf, managed.conf, pg_hba.conf and pg_ident.conf into dir, each replaced
// in one step and only where it differs, readable by the server. The administrator's files in the data
// directory are taken in and not touched. PostgreSQL is started with config_file=dir/postgresql.conf.
// changed asks for a reload.
func WriteConf(dir string, s Settings, uid, gid uint32) (changed bool, err error) {
	if s.ConfDir == "" {
		s.ConfDir = dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("cannot write the configuration: %w", err)
	}
	// The file that names the others comes last. What commits wait for is written whatever is wrong with the access rules.
	access, errAccess := WriteAccess(dir, s, uid, gid)
	changed, err = writeFiles(dir, uid, gid, file{"managed.conf", Managed(s)}, file{"postgresql.conf", mainConf(s)})
	return changed || access, errors.Join(errAccess, err)
}

// WriteAccess is WriteConf for pg_hba.conf and pg_ident.conf alone.
func WriteAccess(dir string, s Settings, uid, gid uint32) (changed bool, err error) {
	if s.ConfDir == "" {
		s.ConfDir = dir
	}
	hba, errHBA := hbaConf(s)
	ident, errIdent := identConf(s)
	if err := errors.Join(errHBA, errIdent); err != nil {
		return false, fmt.Errorf("cannot write the configuration: %w", err)
	}
	return writeFiles(dir, uid, gid, file{"pg_hba.conf", hba}, file{"pg_ident.conf", ident})
}

type file struct{ name, text string }

func writeFiles(dir string, uid, gid uint32, files ...file) (changed bool, err error) {
	for _, f := range files {
		replaced, err := replaceIfChanged(filepath.Join(dir, f.name), []byte(f.text), 0o640, uid, gid)
		if err != nil {
			return changed, err
		}
		changed = changed || replaced
	}
	return changed, nil
}

// mainConf takes in the administrator's file, then ours: the last one wins. listen_addresses comes
// before both: all addresses, where the administrator says nothing else.
func mainConf(s Settings) string {
	theirs := s.include(Conf) + quoteSetting(filepath.Join(s.PGData, "postgresql.conf"))
	if s.stands(Conf) {
		theirs = "include " + quoteSetting(AcceptedFile(s.ConfDir, Conf))
	}
	return written + "listen_addresses = '*'\n" + theirs + "\n" +
		"include " + quoteSetting(filepath.Join(s.ConfDir, "managed.conf")) + "\n"
}

// include is the directive for a file of the administrator's. It is only optional where it never was
// there, because PostgreSQL takes a file that it may not read for one that is not there, and goes on
// with defaults (ParseConfigFile in guc-file.l).
func (s Settings) include(kind Kind) string {
	if _, err := os.Lstat(filepath.Join(s.PGData, string(kind))); err == nil || HasAccepted(s.ConfDir, kind) {
		return "include "
	}
	return "include_if_exists "
}

// stands says whether the accepted copy stands in for the administrator's file.
func (s Settings) stands(kind Kind) bool {
	return slices.Contains(s.Accepted, kind) && HasAccepted(s.ConfDir, kind)
}

// WriteMain is WriteConf for postgresql.conf alone, which says where the administrator's settings are.
func WriteMain(dir string, s Settings, uid, gid uint32) (changed bool, err error) {
	if s.ConfDir == "" {
		s.ConfDir = dir
	}
	return writeFiles(dir, uid, gid, file{"postgresql.conf", mainConf(s)})
}

// hbaConf lets pgtwin in over the socket and the replication role over the network, then come the
// administrator's rules: the first rule that matches decides.
func hbaConf(s Settings) (string, error) {
	var b strings.Builder
	b.WriteString(written)
	fmt.Fprintf(&b, "local all %s peer map=pgtwin\n", quoteName(s.User))
	fmt.Fprintf(&b, "local replication %s peer map=pgtwin\n", quoteName(s.User)) // AskRole: all is no replication
	hosts := s.ReplicationHosts
	if len(hosts) == 0 {
		hosts = []string{"all"}
	}
	kind := "host"
	if s.ReplicationTLS {
		kind = "hostssl"
	}
	for _, host := range hosts {
		fmt.Fprintf(&b, "%s replication %s %s scram-sha-256\n", kind, quoteName(s.ReplicationUser), hbaAddress(host))
		fmt.Fprintf(&b, "%s postgres,template1 %s %s scram-sha-256\n", kind, quoteName(s.ReplicationUser), hbaAddress(host)) // pg_rewind, ConnectServer
	}
	theirs, err := administrators(s, "pg_hba.conf")
	return b.String() + theirs, err
}

// identConf lets root and the server's own user be the superuser over the socket.
func identConf(s Settings) (string, error) {
	var b strings.Builder
	b.WriteString(written)
	fmt.Fprintf(&b, "pgtwin root %s\n", quoteName(s.User))
	osUser := s.OSUser
	if osUser == "" {
		osUser = s.User
	}
	if osUser != "root" {
		fmt.Fprintf(&b, "pgtwin %s %s\n", quoteName(osUser), quoteName(s.User))
	}
	theirs, err := administrators(s, "pg_ident.conf")
	return b.String() + theirs, err
}

// hbaAddress gives a bare IP address the mask that pg_hba.conf wants.
func hbaAddress(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.PrefixFrom(ip.WithZone(""), ip.BitLen()).String()
	}
	return host
}

// copyBegins is how the line before a copy of the administrator's file begins, after an empty one.
const copyBegins = "\n# The administrator's "

// administrators takes in a file of the data directory: by reference where PostgreSQL can, else by copy.
func administrators(s Settings, name string) (string, error) {
	path := filepath.Join(s.PGData, name)
	if s.stands(Kind(name)) {
		text, err := readBounded(AcceptedFile(s.ConfDir, Kind(name)))
		return copyBegins + path + ", as it was last read without an error:\n" + string(text), err
	}
	if s.Major >= includesVersion {
		return s.include(Kind(name)) + quoteName(path) + "\n", nil
	}
	text, err := readBounded(path)
	if err != nil && HasAccepted(s.ConfDir, Kind(name)) {
		s.Accepted = append(slices.Clone(s.Accepted), Kind(name)) // deleted or not to be read: no reason to lock the clients out
		return administrators(s, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return copyBegins + path + ":\n" + absoluteLists(string(text), s.PGData), nil
}

// absoluteLists keeps a copied file's lists of names (@file) where they are: relative to the original.
func absoluteLists(text, dir string) string {
	list := regexp.MustCompile(`(^|[\s,])@([^/\s,"][^\s,"]*)`)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			line = list.ReplaceAllString(line, "${1}@"+strings.ReplaceAll(dir, "$", "$$")+"/$2")
		}
		b.WriteString(line)
	}
	return b.String()
}
