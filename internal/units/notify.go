package units

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// notifySocket is where systemd takes service notifications (sd_notify(3)).
const notifySocket = "/run/systemd/notify"

// NotifyFor sends a notification such as "STATUS=..." in the name of process
// pid, as `systemd-notify --pid` does: the supervisor speaks for the unit whose
// main process is PostgreSQL or conmon. systemd takes it if the process belongs
// to a unit with a NotifyAccess= that allows it. Needs CAP_SYS_ADMIN. state is a
// list of assignments, one a line.
func NotifyFor(pid int, state string) error {
	if err := notifyFor(notifySocket, pid, state); err != nil {
		return fmt.Errorf("cannot notify systemd for process %d: %w", pid, err)
	}
	return nil
}

func notifyFor(socket string, pid int, state string) error {
	// Not connected, because package net sends no credentials over a datagram
	// socket that is; without a name the kernel gives it one.
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	// systemd may be busy; a status line is not worth waiting for it.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	credentials := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	_, _, err = conn.WriteMsgUnix([]byte(state), credentials, &net.UnixAddr{Name: socket, Net: "unixgram"})
	return err
}
