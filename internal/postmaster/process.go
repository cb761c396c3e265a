// Package postmaster knows the processes of a PostgreSQL server: how they are
// found by the data directory they work in, waited for and ended. It needs no
// connection, no pid file and no container runtime, and takes nothing for
// stopped without proof.
package postmaster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process in our own PID namespace, whatever namespace it lives in itself. The start
// time makes it unmistakable: a PID is used again.
type Process struct {
	PID       int
	StartTime uint64 // clock ticks since boot, field 22 of /proc/PID/stat

	parent int
	comm   string
	title  string // command line or, for the server's children, what they do
}

// Find finds the postmaster that runs on a data directory, in a container or not: nil when no
// server process uses the directory. Server processes without a postmaster are an error, because
// they can still write. Whatever leaves doubt is an error: unknown is never stopped.
func Find(pgdata string) (*Process, error) {
	servers, err := serverProcesses(pgdata)
	if err != nil || len(servers) == 0 {
		return nil, err
	}
	if pm := postmasterOf(servers); pm != nil {
		return pm, nil
	}
	return nil, fmt.Errorf("cannot find the postmaster of %s: its children %v are running without one", pgdata, pids(servers))
}

// Processes lists every process of a PostgreSQL server on the data directory. None means that
// nothing of PostgreSQL runs there: the server and its children work in the data directory, in every
// PID and mount namespace.
func Processes(pgdata string) ([]int, error) {
	servers, err := serverProcesses(pgdata)
	return pids(servers), err
}

func pids(processes []Process) []int {
	var list []int
	for _, p := range processes {
		list = append(list, p.PID)
	}
	return list
}

// serverProcesses looks for processes of the name postgres whose working directory is the data
// directory. pid files and shared memory do not hold across PID namespaces, and an administrator's
// shell in the directory is no server.
func serverProcesses(pgdata string) ([]Process, error) {
	dir, err := identify(pgdata)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for processes of %s: %w", pgdata, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot look for processes of %s: %w", pgdata, err)
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := inspect(pid, dir)
		switch {
		case gone(err):
		case err != nil:
			return nil, fmt.Errorf("cannot tell whether process %d uses %s: %w", pid, pgdata, err)
		case p != nil:
			found = append(found, *p)
		}
	}
	return found, nil
}

// inspect reads a process if it is a server process in dir, else it answers nil. The name, which is
// there for everyone to read, comes first: where root may not look into a foreign process (an init of
// another namespace, under some security modules), that fails the search only for a postgres.
func inspect(pid int, dir identity) (*Process, error) {
	p, err := readProcess(pid)
	if err != nil || p.comm != "postgres" && p.comm != "postmaster" {
		return nil, err
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	cwd, err := identify(filepath.Join(proc, "cwd")) // of an ending process: ENOENT
	if err != nil || cwd != dir {
		return nil, err
	}
	title, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	p.title = string(title)
	return &p, err
}

// identity is device and inode: the same for a directory on both sides of a bind mount.
type identity struct {
	major, minor uint32
	inode        uint64
}

// identify asks for nothing but what the kernel knows anyway (an empty mask, no synchronisation):
// another server whose working directory is on a dead network file system must not hang the search.
func identify(path string) (identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return identity{}, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return identity{st.Dev_major, st.Dev_minor, st.Ino}, nil
}

func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist)
}

// readProcess reads /proc/PID/stat (proc_pid_stat(5)).
func readProcess(pid int) (Process, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Process{}, err
	}
	stat := string(content)
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')') // the name may hold spaces and brackets
	fields := []string{}
	if open >= 0 && end > open {
		fields = strings.Fields(stat[end+1:]) // from field 3 on
	}
	if len(fields) < 20 {
		return Process{}, fmt.Errorf("cannot read /proc/%d/stat: %q", pid, stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Process{}, unix.ESRCH
	}
	parent, errParent := strconv.Atoi(fields[1])
	start, errStart := strconv.ParseUint(fields[19], 10, 64)
	return Process{PID: pid, StartTime: start, parent: parent, comm: stat[open+1 : end]}, errors.Join(errParent, errStart)
}

// postmasterOf is the process whose parent is not among the others. A child left over from a dead
// postmaster has such a parent too, but a title of its own ("postgres: checkpointer").
func postmasterOf(servers []Process) *Process {
	for i, p := range servers {
		child := slices.ContainsFunc(servers, func(q Process) bool { return q.PID == p.parent })
		if !child && !strings.HasPrefix(p.title, "postgres: ") {
			return &servers[i]
		}
	}
	return nil
}

// Alive says whether the process still runs. A zombie does not.
func (p Process) Alive() bool {
	now, err := readProcess(p.PID)
	return err == nil && now.StartTime == p.StartTime
}

// Done waits until the process has ended, nil, or ctx has, its error. The process need not be a
// child of ours.
func (p Process) Done(ctx context.Context) error {
	handle, err := p.open()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	stop := context.AfterFunc(ctx, func() { handle.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := handle.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot wait for process %d: %w", p.PID, err)
	}
	var failed error
	err = conn.Read(func(fd uintptr) (ended bool) { // a pidfd is readable once its process has ended
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err != nil && err != unix.EINTR {
			failed = err
		}
		return ready > 0 || failed != nil
	})
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("process %d still runs: %w", p.PID, ctx.Err())
	}
	return errors.Join(failed, err)
}

// Signal sends a signal to exactly this process; an error that is ESRCH means that it has ended.
func (p Process) Signal(sig unix.Signal) error {
	handle, err := p.open()
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := unix.PidfdSendSignal(int(handle.Fd()), sig, nil, 0); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", p.PID, err)
	}
	return nil
}

// open pins the process: the pidfd is taken first, and only then is the start time compared.
func (p Process) open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK) // non-blocking lets Go's poller wait for it
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", p.PID, err)
	}
	handle := os.NewFile(uintptr(fd), "pidfd")
	now, err := readProcess(p.PID)
	if err == nil && now.StartTime != p.StartTime {
		err = unix.ESRCH
	}
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("cannot open process %d: %w", p.PID, err)
	}
	return handle, nil
}
