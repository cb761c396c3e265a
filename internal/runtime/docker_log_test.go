package runtime

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSyslogMessagesAreTakenApart(t *testing.T) {
	for message, want := range map[string]syslogMessage{
		"<134>Nov 22 12:34:56 pgtwin-db[123]: LOG:  ready": {134, "pgtwin-db", "LOG:  ready"},
		"<132>Nov  2 12:34:56 pgtwin-db[1]: one\n\ttwo\n":  {132, "pgtwin-db", "one\n\ttwo"},
		"<134>pgtwin-db: without a time":                   {134, "pgtwin-db", "without a time"},
		"no header: at all":                                {13, "postgres", "no header: at all"},
		"<9999>Nov 22 12:34:56 x":                          {13, "postgres", "<9999>Nov 22 12:34:56 x"},
		"":                                                 {13, "postgres", ""},
	} {
		if got := parseSyslog([]byte(message)); got != want {
			t.Errorf("%q: got %+v, want %+v", message, got, want)
		}
	}
}

// TestRelayPassesOnInTheSendersName has a socket in journald's place, which
// sees what journald would.
func TestRelayPassesOnInTheSendersName(t *testing.T) {
	dir := t.TempDir()
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "journal"), Net: "unixgram"})
	must(t, err)
	defer journal.Close()
	must(t, journal.SetReadDeadline(time.Now().Add(10*time.Second)))
	raw, err := journal.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }))
	must(t, err)

	relay, err := startLogRelay(dir, "pgtwin@db.service", journal.LocalAddr().String(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	sender, err := net.Dial("unixgram", relay.path)
	must(t, err)
	defer sender.Close()
	_, err = sender.Write([]byte("<132>Nov 22 12:34:56 pgtwin-db[7]: ERROR:  division by zero\n\tin one line"))
	must(t, err)
	relay.close() // only after what has arrived

	entry, control := make([]byte, 4096), make([]byte, 256)
	n, oob, _, _, err := journal.ReadMsgUnix(entry, control)
	must(t, err)
	for _, part := range []string{"ERROR:  division by zero\n\tin one line\n", "PRIORITY\n\x01\x00\x00\x00\x00\x00\x00\x004\n", "pgtwin@db.service\n", "pgtwin-db\n"} {
		if !strings.Contains(string(entry[:n]), part) {
			t.Errorf("%q is not in %q", part, entry[:n])
		}
	}
	messages, err := unix.ParseSocketControlMessage(control[:oob])
	must(t, err)
	from, err := unix.ParseUnixCredentials(&messages[0])
	must(t, err)
	if int(from.Pid) != os.Getpid() || int(from.Uid) != os.Getuid() {
		t.Errorf("in the name of process %d, user %d", from.Pid, from.Uid)
	}
	if _, err := os.Stat(relay.path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
