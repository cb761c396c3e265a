package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Fencing is out of band, as in a rack: a daemon on the machine listens on a socket in a directory that
// every host sees, whatever the state of its network, and takes a host's power when asked.
//
// A request is one line, "ACTION HOST", the answer one line too: "ok", "on", "off" or "error: ...".
//
// There is one switch, and it takes one host's power after the other: of two hosts that shoot each other at
// the same moment, one is left. With a device per host both can go.
const (
	fenceSocket = "/socket"
	fenceMount  = "run/pgtwin-lab" // where the hosts have the directory
	// fenceLimit bounds one request: nothing in it takes longer than part of a second.
	fenceLimit = 20 * time.Second
)

func fenceLog() string { return runDir + "/fencing.log" }

// startFencing starts the daemon, which outlives this process, and returns when it listens.
func startFencing(ctx context.Context) error {
	if err := copyProgram(); err != nil {
		return fmt.Errorf("cannot start the fencing daemon: %w", err)
	}
	lab, err := labGroup()
	if err != nil {
		return err
	}
	group := lab.child("fencing")
	if err := group.create(); err != nil {
		return err
	}
	dir, err := group.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := os.MkdirAll(fenceDir, 0o700); err != nil {
		return err
	}
	logFile, err := os.Create(fenceLog())
	if err != nil {
		return err
	}
	defer logFile.Close()
	if err := startFenceServer(dir, logFile); err != nil {
		return fmt.Errorf("cannot start the fencing daemon: %w", err)
	}
	return await(ctx, "the fencing daemon", func() (bool, error) {
		_, err := askFencing(ctx, fenceDir+fenceSocket, "list")
		return err == nil, err
	})
}

// startFenceServer starts the daemon's process in the cgroup and in a session of its own.
func startFenceServer(group, logFile *os.File) error {
	cmd := helper(fenceHelper)
	cmd.Path = program
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(fenceDir+"/pid", []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
}

// copyProgram keeps the running program where neither a rebuild nor the end of a test run removes it.
func copyProgram() error {
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(program, data, 0o755)
}

// fenceServerMain serves the hosts' requests until it is told to end.
func fenceServerMain() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	l, err := Open()
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", fenceDir+fenceSocket)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	var requests sync.WaitGroup
	defer requests.Wait()
	power := make(chan struct{}, 1)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		requests.Go(func() { l.serveFencing(ctx, conn.(*net.UnixConn), power) })
	}
}

// serveFencing answers one request, holding the switch meanwhile. Its log is the truth about who lost power,
// and when.
func (l *Lab) serveFencing(ctx context.Context, conn *net.UnixConn, power chan struct{}) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, fenceLimit)
	defer cancel()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	request, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return // nobody left to answer to
	}
	select {
	case power <- struct{}{}:
		defer func() { <-power }()
	case <-ctx.Done():
		return
	}
	if hungUp(conn) {
		log.Printf("%s: who asked has no power any more", strings.TrimSpace(request))
		return
	}
	began := time.Now()
	answer, err := l.fence(ctx, strings.Fields(request))
	if err != nil {
		answer = "error: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	log.Printf("%s: %s (%s)", strings.TrimSpace(request), answer, time.Since(began).Round(time.Millisecond))
	fmt.Fprintln(conn, answer)
}

// hungUp says whether nobody waits for the answer.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		polled := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP is always looked for (poll(2))
		n, err := unix.Poll(polled, 0)
		gone = err != nil || n > 0
	})
	return gone || err != nil
}

func (l *Lab) fence(ctx context.Context, request []string) (string, error) {
	if len(request) == 1 && request[0] == "list" {
		return strings.Join(l.state.Names, " "), nil
	}
	if len(request) != 2 {
		return "", fmt.Errorf("cannot understand the request %q", request)
	}
	h, err := l.Host(request[1])
	if err != nil {
		return "", err
	}
	switch request[0] {
	case "off":
		return "ok", h.PowerOff(ctx)
	case "status":
		if h.Running() {
			return "on", nil
		}
		return "off", nil
	}
	return "", fmt.Errorf("cannot %s a host: the requests are list, off and status", request[0])
}

// Fenced counts how often the daemon has taken a host's power.
func (l *Lab) Fenced(h *Host) (int, error) {
	text, err := os.ReadFile(fenceLog())
	if err != nil {
		return 0, fmt.Errorf("cannot read who was fenced: %w", err)
	}
	return strings.Count(string(text), "off "+h.name+": ok"), nil
}

// askFencing sends one request and returns the answer.
func askFencing(ctx context.Context, socket string, request ...string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("cannot reach the fencing daemon: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintln(conn, strings.Join(request, " ")); err != nil {
		return "", fmt.Errorf("cannot ask the fencing daemon: %w", err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("cannot hear from the fencing daemon: %w", err)
	}
	answer = strings.TrimSpace(answer)
	if reason, failed := strings.CutPrefix(answer, "error: "); failed {
		return "", errors.New(reason)
	}
	return answer, nil
}
