package postmaster

import "fmt"

// Servers are the processes of a PostgreSQL server on the data directory, the
// postmaster and its children.
func Servers(pgdata string) ([]Process, error) { return serverProcesses(pgdata) }

// Open takes hold of a process that is known by its number, for example as
// just started. An error means that it has ended.
func Open(pid int) (*Process, error) {
	p, err := readProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	return &p, nil
}
