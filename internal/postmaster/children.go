package postmaster

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Children is what the titles of a server's processes tell of the server. PostgreSQL sets the part of
// a title that names the kind of a process even where update_process_title is off (init_ps_display in
// ps_status.c).
type Children struct {
	Postmaster *Process  // nil: the server has none left
	Recovering bool      // a startup process runs: the server is in recovery
	Writing    bool      // a walwriter runs, which a server in recovery does not have
	Waiting    bool      // the startup process says that it waits for sessions or for a lock
	Segment    string    // WAL segment that the startup process replays; "": it does not say
	Clients    []Process // sessions of clients, without walsenders and background workers
}

// ReadChildren looks at the processes of the server on a data directory. It needs no session, and
// works in every PID namespace.
func ReadChildren(pgdata string) (Children, error) {
	servers, err := serverProcesses(pgdata)
	if err != nil {
		return Children{}, err
	}
	return children(servers), nil
}

// The titles are those of the function ps_display in ps_status.c: "postgres: ", cluster_name and a
// colon where that is set, then what the process is. A client's title goes on with its database, its
// host ("[local]" or "address(port)") and what it does, so that no name of a role can look like the
// end of one of the others.
type titles struct{ startup, checkpointer, walwriter, client, walsender *regexp.Regexp }

// processTitles are compiled at their first use, because Pacemaker's monitor starts this program without using them.
var processTitles = sync.OnceValue(func() titles {
	return titles{
		startup:      regexp.MustCompile(`^postgres: (?:.*: )?startup(?: (?:recovering|waiting for) ([0-9A-F]{24}))?( waiting)?$`),
		checkpointer: regexp.MustCompile(`^postgres: (?:.*: )?checkpointer(?: performing .*)?$`),
		walwriter:    regexp.MustCompile(`^postgres: (?:.*: )?walwriter$`),
		client:       regexp.MustCompile(`^postgres: .+ .+ (?:\[local\]|[0-9a-zA-Z.:%-]+\([0-9]+\)) .+`),
		walsender:    regexp.MustCompile(`^postgres: (?:.*: )?walsender [^ ]+ `),
	}
})

func children(servers []Process) Children {
	c, is := Children{Postmaster: postmasterOf(servers)}, processTitles()
	for _, p := range servers {
		title := p.Title()
		startup := is.startup.FindStringSubmatch(title)
		switch {
		case startup != nil:
			c.Recovering, c.Segment, c.Waiting = true, startup[1], startup[2] != ""
		case is.walwriter.MatchString(title):
			c.Writing = true
		case is.client.MatchString(title) && !is.walsender.MatchString(title):
			c.Clients = append(c.Clients, p)
		}
	}
	return c
}

// titleLimit is how many bytes of a title are looked at.
const titleLimit = 300

// Title is what a process of the server says it does, in one line. Names in it are chosen by the
// database's users.
func (p Process) Title() string {
	title := strings.TrimRight(p.title, " \x00")
	if len(title) > titleLimit {
		title = title[:titleLimit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, title)
}

// String names a client's session for a log: its process and what its title says.
func (p Process) String() string {
	return fmt.Sprintf("%d (%s)", p.PID, strings.TrimPrefix(p.Title(), "postgres: "))
}
