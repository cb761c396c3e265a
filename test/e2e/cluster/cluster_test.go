package cluster

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name    string
		options Options
		has     []string
		hasNot  []string
	}{
		{"containers with notifications", Options{Containers: true, Notify: true},
			[]string{`container_mode="true"`, " notify=true ", `vip="10.77.0.100"`}, []string{"pg_bindir", "\nlocation"}},
		{"host packages", Options{},
			[]string{`container_mode="false"`, " notify=false ", `pg_bindir="/usr/lib/postgresql/17/bin"`}, []string{"\nlocation"}},
		{"an older release", Options{Containers: true, Base: "bookworm"},
			[]string{`pg_major_version="15"`, `container_image="localhost/postgres:15"`}, []string{"17"}},
		{"preferences as users have them", Options{Preferences: true},
			[]string{"location prefer-h1 postgres-clone role=Promoted 100: h1\n"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := Configuration(tt.options)
			for _, part := range tt.has {
				if !strings.Contains(text, part) {
					t.Errorf("no %q in\n%s", part, text)
				}
			}
			for _, part := range tt.hasNot {
				if strings.Contains(text, part) {
					t.Errorf("%q in\n%s", part, text)
				}
			}
			for line := range strings.Lines(text) {
				if continued := strings.TrimSuffix(line, "\\\n"); strings.HasPrefix(line, "\t") && strings.TrimSpace(continued) == "" {
					t.Errorf("an empty continuation breaks crmsh's command in\n%s", text)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	path := t.TempDir() + "/pgtwin.toml"
	if err := os.WriteFile(path, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err != nil {
		t.Error(err)
	}
}

const crmMon = `<pacemaker-result>
  <summary><current_dc present="true" with_quorum="true"/></summary>
  <nodes>
    <node name="h1" online="true" standby="false" pending="false" unclean="false"/>
    <node name="h2" online="true" standby="false" pending="false" unclean="false"/>
  </nodes>
  <resources>
    <resource id="fence-h1" role="Started" active="true" failed="false"><node name="h2"/></resource>
    <clone id="postgres-clone">
      <resource id="postgres-db" role="Promoted" active="true" failed="false"><node name="h1"/></resource>
      <resource id="postgres-db" role="Unpromoted" active="true" failed="false"><node name="h2"/></resource>
    </clone>
    <resource id="postgres-vip" role="Started" active="true" failed="false"><node name="h1"/></resource>
  </resources>
  <failures></failures>
</pacemaker-result>`

func TestView(t *testing.T) {
	v, err := parseView(crmMon)
	if err != nil {
		t.Fatal(err)
	}
	if v.Role("h1") != "Promoted" || v.Role("h2") != "Unpromoted" || v.Role("h3") != "" || v.AddressOn() != "h1" {
		t.Errorf("roles %q, %q, address on %q", v.Role("h1"), v.Role("h2"), v.AddressOn())
	}
	if err := v.Calm(); err != nil {
		t.Errorf("not calm: %v", err)
	}
}

func TestViewIsNotCalm(t *testing.T) {
	const failure = `<failures><failure op_key="postgres-db_monitor_3000" node="h1" exitstatus="error" exitreason="PostgreSQL died"/>`
	tests := []struct{ name, old, now, want string }{
		{"without quorum", `with_quorum="true"`, `with_quorum="false"`, "quorum"},
		{"with a node that is away", `name="h2" online="true"`, `name="h2" online="false"`, "node h2 is online=false"},
		{"with a node that has to be fenced", `unclean="false"`, `unclean="true"`, "unclean=true"},
		{"with a node in standby", `standby="false"`, `standby="true"`, "standby=true"},
		{"without fencing", `id="fence-h1" role="Started"`, `id="fence-h1" role="Stopped"`, "fence-h1 is Stopped"},
		{"with a failed action", `<failures>`, failure, "postgres-db_monitor_3000 on h1: error (PostgreSQL died)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := parseView(strings.Replace(crmMon, tt.old, tt.now, 1))
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Calm(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestInSync(t *testing.T) {
	good := func() (standby, primary control.State) {
		standby = control.State{Node: "h2", Role: ha.Standby, Receiving: true, Timeline: 3, InSync: true, Score: 100}
		primary = control.State{Node: "h1", Role: ha.Primary, Timeline: 3, Sync: "FIRST 1 (h2)",
			Standbys: []control.Standby{{Node: "h2", State: "streaming", Sync: "sync"}}}
		return standby, primary
	}
	tests := []struct {
		name  string
		spoil func(standby, primary *control.State)
		want  string
	}{
		{"all is well", func(_, _ *control.State) {}, ""},
		{"two standbys", func(_, p *control.State) { p.Role = ha.Standby }, "h1 is standby"},
		{"two primaries", func(s, _ *control.State) { s.Role = ha.Primary }, "h2 is primary"},
		{"no stream", func(s, _ *control.State) { s.Receiving = false }, "does not receive"},
		{"another timeline", func(s, _ *control.State) { s.Timeline = 2 }, "timeline 2"},
		{"not on record", func(s, _ *control.State) { s.InSync = false }, "not on record"},
		{"not to be promoted", func(s, _ *control.State) { s.Score = ha.Minus }, "not on record"},
		{"nobody is waited for", func(_, p *control.State) { p.Sync = "" }, "wait for nobody"},
		{"asynchronous", func(_, p *control.State) { p.Standbys[0].Sync = "async" }, "streaming in sync"},
		{"catching up", func(_, p *control.State) { p.Standbys[0].State = "catchup" }, "streaming in sync"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			standby, primary := good()
			tt.spoil(&standby, &primary)
			err := Complete(standby, primary)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAwaitSaysWhatWasMissing(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	missing := errors.New("h2 is down")
	err := Await(ctx, "two hosts", func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return missing
	})
	if !errors.Is(err, missing) || !strings.Contains(err.Error(), "two hosts") {
		t.Errorf("got %v", err)
	}
}
