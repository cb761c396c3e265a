package pg

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Kind is one of the administrator's configuration files, with all that it includes.
type Kind string

// The kinds, by the names of their files.
const (
	Conf  Kind = "postgresql.conf"
	HBA   Kind = "pg_hba.conf"
	Ident Kind = "pg_ident.conf"
	// Auto is PostgreSQL's own, which it always reads in the data directory: no copy can stand in for it.
	Auto Kind = autoConf
)

// Kinds are those for which a copy can stand in.
func Kinds() []Kind { return []Kind{Conf, HBA, Ident} }

// AcceptedFile is the copy of a kind of file as PostgreSQL last read it without an error.
func AcceptedFile(dir string, kind Kind) string { return filepath.Join(dir, "accepted."+string(kind)) }

// HasAccepted says whether there is such a copy in dir.
func HasAccepted(dir string, kind Kind) bool {
	_, err := os.Stat(AcceptedFile(dir, kind))
	return err == nil
}

// Prints are the FilePrint of each kind.
func Prints(pgdata string) map[Kind]string {
	prints := map[Kind]string{}
	for _, kind := range append(Kinds(), Auto) {
		prints[kind] = FilePrint(pgdata, kind)
	}
	return prints
}

// Accept keeps copies of the administrator's files that PostgreSQL has read without an error. state is
// what it has read, and prints are from before it did. No copy is made of a file that has changed since
// then, of one that a copy stands in for, and of one that is missing.
func Accept(dir string, s Settings, state FileState, prints map[Kind]string, uid, gid uint32) error {
	var wrong []error
	for _, kind := range append(Kinds(), Auto) {
		path := filepath.Join(s.PGData, string(kind))
		_, missing := os.Lstat(path)
		if (kind == Conf || kind == Auto) && len(state.Conf)+len(state.Auto) > 0 {
			continue // with an error in one of them PostgreSQL has looked at the values of none
		}
		if kind == Auto && state.Pending {
			continue // nobody knows yet whether PostgreSQL starts with it
		}
		if missing != nil || len(state.Problems(kind)) > 0 || slices.Contains(s.Accepted, kind) || !upToDate(dir, s, kind) {
			continue
		}
		var text, print = "", prints[kind]
		var err error
		switch kind {
		case Auto:
			var content []byte
			content, err = readBounded(path)
			text = string(content)
		case Conf:
			text, err = acceptedSettings(dir, state.Settings)
			if state.Pending {
				print = "" // it may be that PostgreSQL does not start with it
			}
		default:
			text, err = flatten(path, s.Major, 0)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("cannot keep a copy of %s: %w", path, err))
			continue
		}
		if FilePrint(s.PGData, kind) != prints[kind] {
			continue
		}
		_, err = replaceIfChanged(AcceptedFile(dir, kind), []byte(text), 0o640, uid, gid)
		wrong = append(wrong, err, notePrint(dir, kind, print, uid, gid))
	}
	return errors.Join(wrong...)
}

// upToDate says whether PostgreSQL reads the administrator's file as it is now: before 16 it reads a
// copy of pg_hba.conf and pg_ident.conf.
func upToDate(dir string, s Settings, kind Kind) bool {
	if kind == Conf || kind == Auto || s.Major >= includesVersion {
		return true
	}
	render := map[Kind]func(Settings) (string, error){HBA: hbaConf, Ident: identConf}[kind]
	want, err := render(s)
	have, errHave := readBounded(filepath.Join(dir, string(kind)))
	return err == nil && errHave == nil && want == string(have)
}

// UpToDate says whether the access files in dir are of the administrator's as they are now.
func UpToDate(dir string, s Settings) bool { return upToDate(dir, s, HBA) && upToDate(dir, s, Ident) }

// Problems are those of one kind.
func (f FileState) Problems(kind Kind) []FileProblem {
	switch kind {
	case Conf:
		return f.Conf
	case Auto:
		return f.Auto
	case HBA:
		return f.HBA
	case Ident:
		return f.Ident
	}
	return nil
}

// acceptedSettings renders a copy of the settings. One that is in force only after a restart keeps the
// value that was accepted before, because nobody knows yet whether PostgreSQL starts with the new one.
func acceptedSettings(dir string, settings []FileSetting) (string, error) {
	before, err := acceptedLines(AcceptedFile(dir, Conf))
	if err != nil {
		return "", err
	}
	lines := map[string]string{}
	var order []string
	for _, s := range settings {
		name := strings.ToLower(s.Name)
		line := s.Name + " = " + quoteSetting(s.Value) + "\n"
		if s.Pending {
			line = before[name]
		}
		order = append(slices.DeleteFunc(order, func(n string) bool { return n == name }), name)
		lines[name] = line
	}
	var b strings.Builder
	b.WriteString(written + "# The administrator's settings as PostgreSQL last read them without an error.\n")
	for _, name := range order {
		b.WriteString(lines[name])
	}
	return b.String(), nil
}

// acceptedLines are the lines of an accepted postgresql.conf by the setting's name.
func acceptedLines(path string) (map[string]string, error) {
	text, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		lines[settingName(line)] = line
	}
	return lines, nil
}

// flatten is the text of an access file with the files it includes in place of the directives, which
// PostgreSQL knows from 16 on.
func flatten(path string, major, depth int) (string, error) {
	text, err := readBounded(path)
	if err != nil {
		return "", err
	}
	if depth > confDepth {
		return "", fmt.Errorf("%s is included too deeply", path)
	}
	var b strings.Builder
	for line := range strings.Lines(absoluteLists(string(text), filepath.Dir(path))) {
		verb, targets, err := included(line, path)
		if err != nil {
			return "", err
		}
		if verb == "" || major < includesVersion {
			b.WriteString(line)
			continue
		}
		for _, target := range targets {
			inner, err := flatten(target, major, depth+1)
			if err != nil && !(verb == "include_if_exists" && errors.Is(err, fs.ErrNotExist)) {
				return "", err
			}
			b.WriteString(inner)
			if inner != "" && !strings.HasSuffix(inner, "\n") {
				b.WriteByte('\n')
			}
		}
	}
	return b.String(), nil
}

// included reads an include directive of a configuration file: what it says, and the files that it names.
func included(line, file string) (verb string, targets []string, err error) {
	verb, name := fileSetting(line)
	switch verb {
	case "include", "include_if_exists":
		return verb, []string{beside(file, name)}, nil
	case "include_dir":
	default:
		return "", nil, nil
	}
	dir := beside(file, name)
	entries, err := os.ReadDir(dir) // sorted by name
	for _, entry := range entries {
		if isIncluded(entry.Name()) {
			targets = append(targets, filepath.Join(dir, entry.Name()))
		}
	}
	return verb, targets, err
}

// FilePrint changes when a configuration file or one that it includes does: content, owner or mode.
// What cannot be read is part of it, because it may become readable.
func FilePrint(pgdata string, kind Kind) string {
	sum, left := sha256.New(), confFiles
	printFile(sum, filepath.Join(pgdata, string(kind)), 0, &left)
	return hex.EncodeToString(sum.Sum(nil))
}

func printFile(sum hash.Hash, path string, depth int, left *int) {
	if *left--; *left < 0 || depth > confDepth {
		return
	}
	io.WriteString(sum, path+"\n")
	if info, err := os.Stat(path); err == nil {
		stat := info.Sys().(*syscall.Stat_t)
		io.WriteString(sum, info.Mode().String()+" "+strconv.FormatUint(uint64(stat.Uid), 10)+" "+strconv.FormatUint(uint64(stat.Gid), 10)+"\n")
	}
	text, err := readBounded(path)
	if err != nil {
		io.WriteString(sum, err.Error()+"\n")
		return
	}
	sum.Write(text)
	for line := range strings.Lines(string(text)) {
		_, targets, err := included(line, path)
		if err != nil {
			io.WriteString(sum, err.Error()+"\n")
		}
		for _, target := range targets {
			printFile(sum, target, depth+1, left)
		}
	}
}

// readBounded reads a regular file of bounded size: the server's user may have put a FIFO or a device
// where a file is expected.
func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, ConfSize+1))
	if err == nil && len(text) > ConfSize {
		err = fmt.Errorf("%s has more than %d bytes", path, ConfSize)
	}
	return text, err
}

// copiedFrom is the number of lines in an access file of ours before the copy of the administrator's;
// 0 where it has none.
func copiedFrom(path string) (int, error) {
	text, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	at := bytes.Index(text, []byte(copyBegins))
	if err != nil || at < 0 {
		return 0, err
	}
	end := bytes.IndexByte(text[at+1:], '\n')
	return bytes.Count(text[:at+1+end+1], []byte("\n")), nil
}

// IsAccepted says whether the administrator's file is, as it is now, the one of the accepted copy, and
// PostgreSQL has started with all of it.
func IsAccepted(dir, pgdata string, kind Kind) (bool, error) {
	print, err := readBounded(AcceptedFile(dir, kind) + ".print")
	return string(print) == FilePrint(pgdata, kind), err
}

// notePrint notes of which state of the file the accepted copy is; "" for one that PostgreSQL has not
// started with.
func notePrint(dir string, kind Kind, print string, uid, gid uint32) error {
	_, err := replaceIfChanged(AcceptedFile(dir, kind)+".print", []byte(print), 0o640, uid, gid)
	return err
}

// Refused is the first problem of postgresql.conf and what it includes, "" without one.
func (f ConfFiles) Refused(pgdata string) string {
	for _, p := range f.Problems {
		if p.File != filepath.Join(pgdata, autoConf) {
			return p.String()
		}
	}
	return ""
}

// BrokenAuto is where ReplaceAuto leaves the file that PostgreSQL cannot read.
func BrokenAuto(pgdata string) string { return filepath.Join(pgdata, autoConf+".broken") }

// ReplaceAuto puts the last good copy of postgresql.auto.conf in its place. PostgreSQL always reads this
// file, and writes it itself; one that it cannot read keeps every setting of ours out of force. It says
// whether there was a copy that differs.
func ReplaceAuto(dir, pgdata string, uid, gid uint32) (bool, error) {
	path := filepath.Join(pgdata, autoConf)
	good, err := readBounded(AcceptedFile(dir, Auto))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	broken, err := readBounded(path)
	if err != nil || bytes.Equal(good, broken) {
		return false, err
	}
	if err := replaceFile(BrokenAuto(pgdata), broken, 0o600, uid, gid); err != nil {
		return false, err
	}
	return true, replaceFile(path, good, 0o600, uid, gid)
}
