package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// journalNative is where journald takes structured entries (systemd.io, Native
// Journal Protocol).
const journalNative = "/run/systemd/journal/socket"

// largestMessage is more than PostgreSQL writes in one piece: a socket's
// default buffer (net.core.wmem_default) is about 200 kB.
const largestMessage = 256 << 10

// logRelay is a container's /dev/log. What docker runs is in a control group
// of its own, so what it says to journald is not in the unit's log. The relay
// passes each message on for the unit, with the sender's process id, which only
// a privileged process may do (unix(7), SCM_CREDENTIALS).
type logRelay struct {
	path    string
	unit    string
	in, out *net.UnixConn
	journal *net.UnixAddr
	log     *slog.Logger
	reading sync.WaitGroup
}

func startLogRelay(dir, unit, journal string, log *slog.Logger) (*logRelay, error) {
	r := &logRelay{path: filepath.Join(dir, "dev-log"), unit: unit, log: log, journal: &net.UnixAddr{Name: journal, Net: "unixgram"}}
	if err := r.open(); err != nil {
		r.close()
		return nil, fmt.Errorf("cannot relay the log of %s to the journal: %w", unit, err)
	}
	r.reading.Go(r.read)
	return r, nil
}

func (r *logRelay) open() (err error) {
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if r.in, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path, Net: "unixgram"}); err != nil {
		return err
	}
	if err := os.Chmod(r.path, 0o666); err != nil { // as /dev/log is
		return err
	}
	raw, err := r.in.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err := errors.Join(err, refused); err != nil {
		return err
	}
	// Not connected: journald may be restarted, and comes back on a new socket.
	if r.out, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"}); err != nil {
		return err
	}
	return r.out.SetWriteBuffer(2 * largestMessage)
}

// mount makes the relay the container's /dev/log.
func (r *logRelay) mount() Mount { return Mount{Source: r.path, Target: "/dev/log"} }

// close passes on what has arrived and ends the relay.
func (r *logRelay) close() {
	if r.in != nil {
		// What is there is read without waiting, then the read fails.
		_ = r.in.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		r.reading.Wait()
		r.in.Close()
	}
	if r.out != nil {
		r.out.Close()
	}
	os.Remove(r.path)
}

func (r *logRelay) read() {
	message, control := make([]byte, largestMessage), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, oob, _, _, err := r.in.ReadMsgUnix(message, control)
		if err != nil {
			return
		}
		if err := r.pass(message[:n], control[:oob]); err != nil {
			r.log.Warn("cannot pass a line of PostgreSQL's log to the journal", "error", err)
		}
	}
}

// pass writes one message to the journal in its sender's name. journalctl
// --unit believes OBJECT_SYSTEMD_UNIT= when it comes from root.
func (r *logRelay) pass(message, control []byte) error {
	m := parseSyslog(message)
	entry := journalEntry([][2]string{
		{"MESSAGE", m.text},
		{"PRIORITY", strconv.Itoa(m.priority & 7)},
		{"SYSLOG_FACILITY", strconv.Itoa(m.priority >> 3)},
		{"SYSLOG_IDENTIFIER", m.ident},
		{unitField, r.unit},
	})
	_, _, err := r.out.WriteMsgUnix(entry, inNameOf(control), r.journal)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ESRCH) { // the sender has ended
		_, err = r.out.WriteToUnix(entry, r.journal)
	}
	return err
}

// inNameOf are the credentials to send with: the sender's process, our user.
func inNameOf(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		return nil
	}
	sender, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil || sender.Pid == 0 {
		return nil
	}
	return unix.UnixCredentials(&unix.Ucred{Pid: sender.Pid, Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
}

// journalEntry encodes fields so that values may have line breaks.
func journalEntry(fields [][2]string) []byte {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f[0] + "\n")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(f[1]))))
		b.WriteString(f[1] + "\n")
	}
	return b.Bytes()
}

type syslogMessage struct {
	priority int // facility * 8 + severity
	ident    string
	text     string
}

// stamp is the time in a message of libc's syslog(3), as in RFC 3164.
const stamp = "Jan _2 15:04:05 "

// parseSyslog reads "<134>Nov 22 12:34:56 pgtwin-db[123]: text". What is
// missing has syslog(3)'s defaults: LOG_USER, LOG_NOTICE.
func parseSyslog(message []byte) syslogMessage {
	m := syslogMessage{priority: 13, ident: "postgres"}
	rest := bytes.TrimRight(message, "\n\x00")
	if head, after, ok := bytes.Cut(rest, []byte(">")); ok && bytes.HasPrefix(head, []byte("<")) {
		if p, err := strconv.Atoi(string(head[1:])); err == nil && p >= 0 && p < 1024 {
			m.priority, rest = p, after
		}
	}
	if len(rest) >= len(stamp) {
		if _, err := time.Parse(stamp, string(rest[:len(stamp)])); err == nil {
			rest = rest[len(stamp):]
		}
	}
	if tag, text, ok := bytes.Cut(rest, []byte(": ")); ok && !bytes.ContainsAny(tag, " \n") {
		name, _, _ := bytes.Cut(tag, []byte("["))
		m.ident, rest = string(name), text
	}
	m.text = string(rest)
	return m
}
