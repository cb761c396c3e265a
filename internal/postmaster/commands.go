package postmaster

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// commandPatience is how long the first command may run. It is not ended at once, because the archive may have WAL that was
	// not received.
	commandPatience = 5 * time.Second
	// hungPatience is how long each further command may run after one has been ended: PostgreSQL asks the archive for several
	// files, one after the other.
	hungPatience = 200 * time.Millisecond
)

// Commands are programs of the administrator's for which a server in recovery waits without a limit, as where the archive is
// gone together with the primary. The zero value has seen none.
type Commands struct {
	since map[command]time.Time
	ended bool // one has been
}

// command tells processes apart, as Process does.
type command struct {
	pid       int
	startTime uint64
}

// EndHung ends those that have run for long, and says which. Ended by a signal they count as failed, and the server goes on. It
// is to be called several times a second.
func (c *Commands) EndHung(pgdata, guard string) (hung []Process, err error) {
	running, err := RunningCommands(pgdata, guard)
	patience, now, since := commandPatience, time.Now(), map[command]time.Time{}
	if c.ended {
		patience = hungPatience
	}
	for _, p := range running {
		id := command{p.PID, p.StartTime}
		began, known := c.since[id]
		if !known {
			began = now
		}
		since[id] = began
		if now.Sub(began) >= patience && p.Signal(unix.SIGKILL) == nil {
			hung, c.ended = append(hung, p), true
		}
	}
	c.since = since
	return hung, err
}

// RunningCommands are those of the moment: what runs below the shell of the startup process, where its restore_command begins with
// guard, and what the checkpointer runs (archive_cleanup_command).
func RunningCommands(pgdata, guard string) ([]Process, error) {
	servers, err := serverProcesses(pgdata)
	if err != nil || len(servers) == 0 {
		return nil, err
	}
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, p := range servers {
		switch title := p.Title(); {
		case processTitles().startup.MatchString(title):
			for _, shell := range childrenOf(p, all) {
				if shell.runs(guard) { // PostgreSQL gives up when another one is ended by a signal
					found = append(found, descendants(shell, all)...)
				}
			}
		case processTitles().checkpointer.MatchString(title):
			found = append(found, descendants(p, all)...)
		}
	}
	return found, nil
}

// runs says whether the process is the shell of a command that begins so: "sh", "-c" and the command (system(3)).
func (p Process) runs(begin string) bool {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cmdline"))
	_, argument, found := strings.Cut(string(content), "\x00-c\x00")
	argument = strings.TrimPrefix(argument, "--\x00") // glibc 2.38 and later
	return err == nil && found && strings.HasPrefix(argument, begin)
}

// Program is the name of a process's program (comm in proc_pid_stat(5)), which its user may have changed to any bytes. The
// arguments are left out, because they may hold secrets.
func (p Process) Program() string { return p.comm }

func allProcesses() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil { // else it has ended
			all = append(all, p)
		}
	}
	return all, nil
}

func childrenOf(parent Process, all []Process) []Process {
	var found []Process
	for _, p := range all {
		if p.parent == parent.PID {
			found = append(found, p)
		}
	}
	return found
}

func descendants(parent Process, all []Process) []Process {
	var found []Process
	for _, p := range childrenOf(parent, all) {
		found = append(append(found, p), descendants(p, all)...)
	}
	return found
}
