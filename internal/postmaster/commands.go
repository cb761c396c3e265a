package postmaster

import (
	"os"
	"strconv"
)

// Commands are programs for which a server in recovery waits: what runs below the shell of the startup process
// (restore_command in the form of pg.Guarded), and what the checkpointer runs (archive_cleanup_command). Ended by a signal they
// count as failed, and the server goes on.
func Commands(pgdata string) ([]Process, error) {
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
			for _, shell := range childrenOf(p, all) { // PostgreSQL gives up when that is ended by a signal
				found = append(found, descendants(shell, all)...)
			}
		case processTitles().checkpointer.MatchString(title):
			found = append(found, descendants(p, all)...)
		}
	}
	return found, nil
}

// Program is the name of a process's program (comm in proc_pid_stat(5)). Its arguments may hold secrets.
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
