package exporter

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func onPrimary() control.State {
	return control.State{
		Instance: "postgres-ha", Resource: "postgres-db", Node: "h1", Updated: now.Add(-time.Second),
		Role: ha.Primary, Phase: control.PhaseRunning, System: 7412345678901234567, Version: 170011, Timeline: 9,
		LSN: 0x5000148, Started: now.Add(-time.Hour),
		Epoch: &ha.Epoch{Number: 7, Timeline: 9, Node: "h1"}, InSync: true, Score: 1000, Quorate: true, Fencing: true,
		Standbys: []control.Standby{{Node: "h2", State: "streaming", Sync: "sync", LagBytes: 2048}},
		Crashes:  2,
	}
}

func onStandby() control.State {
	st := onPrimary()
	st.Node, st.Role, st.Standbys, st.Score, st.Crashes = "h2", ha.Standby, nil, 100, 0
	st.Replayed, st.Receiving, st.LagBytes, st.LagSeconds = 0x5000100, true, 72, 0.5
	return st
}

func cloning() control.State {
	return control.State{
		Instance: "postgres-ha", Node: "h2", Updated: now, Role: ha.Down, Phase: control.PhaseCloning,
		Detail: "copying the database from h1", Score: ha.Minus, Quorate: true, Fencing: true,
		Epoch:    &ha.Epoch{Number: 7, Timeline: 9, Node: "h1"},
		Progress: &control.Progress{Phase: control.PhaseCloning, Done: 24, Total: 100},
		Warnings: []string{"not promotable"},
	}
}

func with(st control.State, change func(*control.State)) control.State {
	change(&st)
	return st
}

// serving writes the state to a file and returns the handler that reads it.
func serving(t *testing.T, st control.State) http.Handler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "status.json")
	if err := control.WriteJSON(path, st, 0o644); err != nil {
		t.Fatal(err)
	}
	return handler(source{path, func() time.Time { return now }})
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestHealthChecks(t *testing.T) {
	lagging := with(onStandby(), func(st *control.State) { st.LagBytes = 2 << 20 })
	stalled := with(onStandby(), func(st *control.State) { st.Receiving = false })
	behind := with(onStandby(), func(st *control.State) { st.InSync = false })
	replaced := with(onPrimary(), func(st *control.State) { st.Epoch.Node = "h2" })
	silent := with(onPrimary(), func(st *control.State) { st.Role = ha.Unknown })
	stale := with(onPrimary(), func(st *control.State) { st.Updated = now.Add(-5 * time.Second) })
	future := with(onPrimary(), func(st *control.State) { st.Updated = now.Add(time.Hour) })

	type states = map[string]control.State
	all := states{
		"primary": onPrimary(), "standby": onStandby(), "lagging": lagging, "stalled": stalled, "behind": behind,
		"replaced": replaced, "silent": silent, "cloning": cloning(), "stale": stale, "future": future,
	}
	tests := []struct {
		name    string
		targets string
		ok      string // states that are answered with 200; all others get 503
	}{
		{"only the primary takes writes, and not after the cluster has promoted another",
			"/ /primary /master /leader /read-write", "primary"},
		{"a replica is a standby that streams", "/replica", "standby lagging behind"},
		{"a lag in bytes excludes a standby that is further behind", "/replica?lag=1048576 /replica?lag=1MB /replica?lag=1024kB", "standby behind"},
		{"a lag that the standby is just within includes it", "/replica?lag=2MB", "standby lagging behind"},
		{"reads go to either, the lag limits standbys alone", "/read-only?lag=1MB /readiness?lag=1MB", "primary standby behind"},
		{"in sync is what the cluster has on record", "/sync /synchronous", "standby lagging"},
		{"a standby that is not on record is asynchronous", "/async /asynchronous", "behind"},
		{"healthy is PostgreSQL that answers, whatever its role", "/health", "primary standby lagging stalled behind replaced"},
		{"ready is the primary or a standby that streams", "/readiness", "primary standby lagging behind"},
		{"alive is a supervisor that reports, whatever it reports", "/liveness",
			"primary standby lagging stalled behind replaced silent cloning"},
		{"the status in our own words is refused only when it is old", "/status",
			"primary standby lagging stalled behind replaced silent cloning"},
		{"what Patroni tells of itself is always answered", "/patroni",
			"primary standby lagging stalled behind replaced silent cloning stale future"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, st := range all {
				h := serving(t, st)
				want := http.StatusServiceUnavailable
				if strings.Contains(" "+test.ok+" ", " "+name+" ") {
					want = http.StatusOK
				}
				for target := range strings.FieldsSeq(test.targets) {
					for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
						if got := ask(h, method, target).Code; got != want {
							t.Errorf("%s %s on %s: %d, want %d", method, target, name, got, want)
						}
					}
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	tests := []struct {
		name string
		st   control.State
		want string
	}{
		{"a primary tells its position and its standbys", onPrimary(),
			`{"state":"running","role":"primary","postmaster_start_time":"2026-03-01T11:00:00Z","server_version":170011,` +
				`"timeline":9,"xlog":{"location":83886408},"replication":[{"application_name":"h2","state":"streaming","sync_state":"sync"}],` +
				`"database_system_identifier":"7412345678901234567","pgtwin":{"instance":"postgres-ha","node":"h1"}}`},
		{"a standby tells what it has received and replayed", onStandby(),
			`{"state":"running","role":"replica","postmaster_start_time":"2026-03-01T11:00:00Z","server_version":170011,` +
				`"timeline":9,"xlog":{"received_location":83886408,"replayed_location":83886336},"replication_state":"streaming",` +
				`"sync_standby":true,"database_system_identifier":"7412345678901234567","pgtwin":{"instance":"postgres-ha","node":"h2"}}`},
		{"a standby that is being made tells what is done", cloning(),
			`{"state":"creating replica","role":"unknown","pgtwin":{"instance":"postgres-ha","node":"h2"},"reason":"copying the database from h1"}`},
		{"a stale status tells nothing but its age", with(onPrimary(), func(st *control.State) { st.Updated = now.Add(-90 * time.Second) }),
			`{"state":"unknown","role":"unknown","reason":"the status is 1m30s old: the supervisor does not run or hangs"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := ask(serving(t, test.st), "GET", "/health")
			if got := strings.TrimSpace(w.Body.String()); got != test.want {
				t.Errorf("body:\n%s\nwant:\n%s", got, test.want)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
}

func TestStatusIsTheWholeState(t *testing.T) {
	var got control.State
	if err := json.Unmarshal(ask(serving(t, onStandby()), "GET", "/status").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Upstream != "" || got.Node != "h2" || got.LSN != 0x5000148 || got.Epoch.Number != 7 {
		t.Errorf("got %+v", got)
	}
}

func TestWithoutAStatusFileEveryCheckFails(t *testing.T) {
	h := handler(source{filepath.Join(t.TempDir(), "status.json"), time.Now})
	for _, path := range []string{"/", "/primary", "/replica", "/health", "/liveness", "/readiness", "/status"} {
		w := ask(h, "GET", path)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "has not run since the boot") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAStatusFileThatCannotBeReadIsNoHealth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	if err := os.WriteFile(path, []byte(`{"Role": "prim`), 0o644); err != nil {
		t.Fatal(err)
	}
	if w := ask(Handler(path), "GET", "/primary"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	h := serving(t, onStandby())
	tests := []struct {
		name, method, target string
		code                 int
	}{
		{"a lag without sense", "GET", "/replica?lag=much", http.StatusBadRequest},
		{"a negative lag", "GET", "/replica?lag=-1", http.StatusBadRequest},
		{"a change", "POST", "/switchover", http.StatusNotFound},
		{"a change to a check", "POST", "/primary", http.StatusMethodNotAllowed},
		{"a path that does not exist", "GET", "/primary/x", http.StatusNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ask(h, test.method, test.target).Code; got != test.code {
				t.Errorf("%s %s: %d, want %d", test.method, test.target, got, test.code)
			}
		})
	}
}
