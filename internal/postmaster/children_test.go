package postmaster

import (
	"testing"

	"pgtwin/internal/pg"
)

func TestWhatTheTitlesOfAServerTell(t *testing.T) {
	const segment = "000000010000000000000003"
	tests := []struct {
		title                        string
		recovering, waiting, writing bool
		segment                      string
		client                       bool
	}{
		{title: "postgres: postgres-ha: startup recovering " + segment, recovering: true, segment: segment},
		{title: "postgres: startup waiting for " + segment, recovering: true, segment: segment},
		{title: "postgres: ha: startup recovering " + segment + " waiting", recovering: true, waiting: true, segment: segment},
		{title: "postgres: ha: startup ", recovering: true},
		{title: "postgres: ha: walwriter ", writing: true},
		{title: "postgres: ha: checkpointer "},
		{title: "postgres: ha: walsender replicator 10.0.0.2(40000) streaming 0/3000060"},
		{title: "postgres: ha: logical replication launcher "},
		{title: "postgres: ha: app db [local] idle in transaction", client: true},
		{title: "postgres: app db 10.0.0.7(5000) SELECT", client: true},
		{title: "postgres: app db fe80::1%eth0(5000) idle", client: true},
		// A role may have any name.
		{title: "postgres: ha: startup recovering [local] idle", client: true},
		{title: "postgres: ha: x: startup db [local] idle", client: true},
		{title: "postgres: ha: walwriter db [local] idle", client: true},
	}
	for _, test := range tests {
		c := children([]Process{{PID: 7, parent: 1, title: "/usr/bin/postgres\x00-D\x00x"}, {PID: 8, parent: 7, title: test.title + "\x00\x00"}})
		if c.Postmaster == nil || c.Recovering != test.recovering || c.Waiting != test.waiting || c.Writing != test.writing ||
			c.Segment != test.segment || (len(c.Clients) == 1) != test.client {
			t.Errorf("%q: %+v", test.title, c)
		}
	}
}

func TestTheProcessesTellTheRole(t *testing.T) {
	s := newServer(t)
	s.start()
	var primary Children
	s.await(func() (told bool) {
		var err error
		primary, err = ReadChildren(s.data)
		must(t, err)
		return primary.Writing
	})
	if primary.Recovering || primary.Postmaster == nil || len(primary.Clients) != 0 {
		t.Errorf("a primary: %+v", primary)
	}
	s.end()
	must(t, pg.SetStandbySignal(s.data))
	s.start()
	standby, err := ReadChildren(s.data)
	must(t, err)
	if !standby.Recovering || standby.Writing || standby.Postmaster == nil {
		t.Errorf("a standby: %+v", standby)
	}
}
