package postmaster

import (
	"fmt"
	"strings"
)

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

// Recovering is the name of the WAL segment that the server on the data
// directory is replaying, as its startup process shows it in its title; "" when
// none is seen.
func Recovering(pgdata string) (segment string, err error) {
	servers, err := serverProcesses(pgdata)
	if err != nil {
		return "", err
	}
	for _, p := range servers {
		if segment := replaying(p.title); segment != "" {
			return segment, nil
		}
	}
	return "", nil
}

// replaying reads a title such as "postgres: NAME: startup recovering
// 000000010000000000000003" (xlogrecovery.c, ReadRecord and its callers).
func replaying(title string) string {
	_, doing, found := strings.Cut(strings.TrimRight(title, " \x00"), "startup ")
	verb, segment, _ := strings.Cut(doing, " ")
	if found && strings.HasPrefix(title, "postgres: ") && verb == "recovering" {
		return segment
	}
	return ""
}
